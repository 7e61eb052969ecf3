//! What the calls of a pickle come to: tensors, storages, empty dictionaries. Nothing is called.

use super::pickle_nodes::{Global, Id, Node, Storage, Tensor};
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
                let storage = Storage { dtype: *dtype, key: key.clone() };
                self.budget.take(SHARED + size_of::<Storage>())?;
                Ok(Arc::new(storage))
            }
            _ => malformed("a persistent id that is not a storage of a known type"),
        }
    }
}
