//! Height and width.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Height and width, of an image in pixels, of a map or grid in its cells; one number in a file means a square.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Size {
    /// A size from rows and columns.
    pub const fn new(height: usize, width: usize) -> Self {
        Self { height, width }
    }

    /// The size of an image.
    pub fn of(image: &impl image::GenericImageView) -> Self {
        image.dimensions().into()
    }

    /// Width and height, as the crate `image` has them.
    pub const fn dimensions(self) -> (u32, u32) {
        (self.width as u32, self.height as u32)
    }

    /// The greater of each side.
    pub fn max(self, other: Self) -> Self {
        Self::new(self.height.max(other.height), self.width.max(other.width))
    }

    /// Number of pixels or cells.
    pub const fn area(self) -> usize {
        self.height * self.width
    }

    /// `side` × `side`.
    pub const fn square(side: usize) -> Self {
        Self { height: side, width: side }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if self.height == self.width {
            self.height.serialize(serializer)
        } else {
            [self.height, self.width].serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a side in pixels or [height, width]")]
        enum Form {
            Side(usize),
            Sides([usize; 2]),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Side(side) => Self::square(side),
            Form::Sides([height, width]) => Self { height, width },
        })
    }
}

impl From<(u32, u32)> for Size {
    /// From width and height, as the crate `image` has them.
    fn from((width, height): (u32, u32)) -> Self {
        Self::new(height as usize, width as usize)
    }
}
