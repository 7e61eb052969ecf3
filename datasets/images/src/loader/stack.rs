//! Arrays of one shape on top of one another: what a batch holds, in memory that the next batch uses again.

use ndarray::{ArrayView, Axis, Dimension, Ix2, Ix3};

/// N items of one shape, such as images (3, H, W), as one array (N, 3, H, W).
#[derive(Debug, Clone)]
pub struct Stack<T, D: Dimension> {
    values: Vec<T>,
    item: D,
}

/// Images (N, 3, H, W), normalized.
pub type Images = Stack<f32, Ix3>;

/// Label maps (N, H, W).
pub type LabelMaps = Stack<u8, Ix2>;

impl<T, D: Dimension> Default for Stack<T, D> {
    fn default() -> Self {
        Self { values: Vec::new(), item: D::zeros(D::NDIM.unwrap_or(0)) }
    }
}

impl<T: Clone + Default, D: Dimension> Stack<T, D> {
    /// Empties it for items of this shape.
    pub fn begin(&mut self, item: D) {
        self.values.clear();
        self.item = item;
    }

    /// Room for the next item, row-major, of default values.
    pub fn push(&mut self) -> &mut [T] {
        let start = self.values.len();
        self.values.resize(start + self.item.size(), T::default());
        &mut self.values[start..]
    }

    /// N.
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.item.size()).unwrap_or(0)
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The shape of an item.
    pub fn item_shape(&self) -> &[usize] {
        self.item.slice()
    }

    /// All values, row-major.
    pub fn as_slice(&self) -> &[T] {
        &self.values
    }

    /// All values, to change.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// The values of an item, row-major.
    ///
    /// # Panics
    /// Fewer items.
    pub fn item(&self, index: usize) -> &[T] {
        let len = self.item.size();
        &self.values[index * len..(index + 1) * len]
    }

    /// The whole as an array.
    pub fn view(&self) -> ArrayView<'_, T, D::Larger> {
        let mut shape = self.item.insert_axis(Axis(0));
        shape[0] = self.len();
        ArrayView::from_shape(shape, &self.values).expect("whole items")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Dim;

    #[test]
    fn items_lie_one_after_the_other_and_memory_is_kept() {
        let mut stack = LabelMaps::default();
        assert_eq!((stack.len(), stack.view().dim()), (0, (0, 0, 0)));
        stack.begin(Dim([2, 3]));
        stack.push().copy_from_slice(&[1, 2, 3, 4, 5, 6]);
        stack.push()[4] = 9;
        assert_eq!((stack.len(), stack.view().dim()), (2, (2, 2, 3)));
        assert_eq!((stack.view()[[0, 1, 0]], stack.view()[[1, 1, 1]]), (4, 9));
        assert_eq!(stack.item(1), [0, 0, 0, 0, 9, 0]);
        let memory = stack.as_slice().as_ptr();
        stack.begin(Dim([3, 2]));
        assert_eq!((stack.len(), stack.push()), (0, &mut [0; 6][..]));
        assert_eq!((stack.as_slice().as_ptr(), stack.item_shape()), (memory, &[3, 2][..]));
    }
}
