//! What the calls of a pickle come to: tensors, storages, arrays, empty dictionaries. Nothing is called.

use super::pickle_nodes::{Array, Content, Global, Id, Node, NumpyType, Storage, Tensor};
use super::unpickle::{Machine, Refusal, malformed};
use std::sync::Arc;

/// Bytes beside a shared value: its two counts and the allocator's own.
const SHARED: usize = 32;

/// What a call gives.
pub(super) enum Called {
    /// A value of its own.
    New(Node),
    /// One of its arguments.
    Same(Id),
}

impl Machine<'_> {
    /// The effect of a call of a known callable.
    pub(super) fn call(&mut self, callable: Id, arguments: Id) -> Result<Called, Refusal> {
        let (Node::Global(callable), Node::Tuple(arguments)) =
            (&self.nodes[callable], &self.nodes[arguments])
        else {
            return malformed("a call of something that is not a known type");
        };
        match (callable, arguments.as_slice()) {
            (Global::OrderedDict, []) => Ok(Called::New(Node::Dict(Vec::new()))),
            (Global::RebuildTensor, &[storage, offset, shape, stride, ..]) => {
                let (offset, shape, stride) = (self.size(offset)?, self.sizes(shape)?, self.sizes(stride)?);
                self.tensor(storage, offset, shape, stride).map(Called::New)
            }
            (Global::RebuildParameter, &[tensor, ..]) => match &self.nodes[tensor] {
                Node::Tensor(_) => Ok(Called::Same(tensor)),
                _ => malformed("a parameter that is not a tensor"),
            },
            (Global::Size, &[sizes]) => Ok(Called::Same(sizes)),
            (Global::NumpyType, &[name, ..]) => Ok(Called::New(match &self.nodes[name] {
                Node::Str(name) => Node::NumpyType(NumpyType::named(name)),
                // a class, as of records
                _ => Node::NumpyType(NumpyType { dtype: None, big_endian: false }),
            })),
            (Global::NumpyReconstruct, _) => Ok(Called::New(Node::Array(None))),
            (Global::NumpyFromBuffer, &[buffer, of, shape, order]) => {
                let fortran = matches!(&self.nodes[order], Node::Str(order) if &**order == "F");
                self.array((shape, of, buffer), fortran).map(Called::New)
            }
            (Global::Encode, &[text, ..]) => Ok(match &self.nodes[text] {
                Node::Str(text) => Called::New(Node::Latin1(text.clone())),
                _ => Called::New(Node::Opaque),
            }),
            (Global::Record, _) => Ok(Called::New(Node::Opaque)),
            (callable, arguments) => {
                malformed(format!("{callable:?} called with {} arguments", arguments.len()))
            }
        }
    }

    fn tensor(
        &mut self,
        storage: Id,
        offset: usize,
        shape: Vec<usize>,
        stride: Vec<usize>,
    ) -> Result<Node, Refusal> {
        let Node::Storage(storage) = &self.nodes[storage] else {
            return malformed("a tensor without a storage");
        };
        if shape.len() != stride.len() {
            return malformed(format!("a tensor of {} dimensions and {} strides", shape.len(), stride.len()));
        }
        let storage = storage.clone();
        self.budget.take(SHARED + size_of::<Tensor>())?;
        self.budget.take_values::<usize>(shape.len() + stride.len())?;
        Ok(Node::Tensor(Arc::new(Tensor { storage, offset, shape, stride })))
    }

    /// The effect of setting the state of an object: arrays get their content that way, types of numbers their byte order. On
    /// records and on OrderedDict (its `_metadata`) it is of no interest.
    pub(super) fn set_state(&mut self, object: Id, state: Id) -> Result<(), Refusal> {
        let Node::Tuple(items) = &self.nodes[state] else { return Ok(()) };
        match (&self.nodes[object], items.as_slice()) {
            (Node::NumpyType(of), &[_, order, ..]) => {
                let big_endian = matches!(&self.nodes[order], Node::Str(order) if &**order == ">");
                self.nodes[object] = Node::NumpyType(NumpyType { big_endian, ..*of });
            }
            (Node::Array(_), &[_, shape, of, order, content]) => {
                let fortran = self.nodes[order] == Node::Bool(true);
                self.nodes[object] = self.array((shape, of, content), fortran)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// An array; one whose elements are no numbers is left without content.
    fn array(&mut self, (shape, of, content): (Id, Id, Id), fortran: bool) -> Result<Node, Refusal> {
        let Node::NumpyType(of) = self.nodes[of] else {
            return malformed("an array without a type of numbers");
        };
        let data = match &self.nodes[content] {
            Node::Bytes(range) => Content::Bytes(range.clone()),
            Node::Latin1(text) | Node::Str(text) => Content::Latin1(text.clone()),
            _ => return Ok(Node::Array(None)),
        };
        let shape = self.sizes(shape)?;
        self.budget.take(SHARED + size_of::<Array>())?;
        self.budget.take_values::<usize>(shape.len())?;
        Ok(Node::Array(Some(Arc::new(Array { shape, of, fortran, data }))))
    }

    fn size(&self, id: Id) -> Result<usize, Refusal> {
        match &self.nodes[id] {
            Node::Int(value) => usize::try_from(*value).or_else(|_| malformed(format!("a size of {value}"))),
            other => malformed(format!("a size that is {}, expected a number", other.kind())),
        }
    }

    fn sizes(&self, id: Id) -> Result<Vec<usize>, Refusal> {
        match &self.nodes[id] {
            // torch's tensors have at most 64 dimensions.
            Node::Tuple(items) | Node::List(items) if items.len() <= 64 => {
                items.iter().map(|&i| self.size(i)).collect()
            }
            _ => malformed("sizes that are not a tuple of at most 64"),
        }
    }

    pub(super) fn persistent(&mut self, id: Id) -> Result<Arc<Storage>, Refusal> {
        let Node::Tuple(items) = &self.nodes[id] else {
            return malformed("a persistent id that is not a tuple");
        };
        let mut nodes = items.iter().map(|&i| &self.nodes[i]);
        match (nodes.next(), nodes.next(), nodes.next()) {
            (Some(Node::Str(tag)), Some(Node::Global(Global::Storage(dtype))), Some(Node::Str(key)))
                if &**tag == "storage" =>
            {
                // Files from before 1.6 may hold storages that are parts of others.
                if nodes.nth(2).is_some_and(|view| *view != Node::Opaque) {
                    return malformed("a storage that is a view of another");
                }
                let storage = Storage { dtype: *dtype, key: key.clone() };
                self.budget.take(SHARED + size_of::<Storage>())?;
                Ok(Arc::new(storage))
            }
            _ => malformed("a persistent id that is not a storage of a known type"),
        }
    }
}
