//! The values that the pickle machine builds, and the list of names that a pickle may use.
//!
//! What a few bytes of a pickle can refer to again and again (texts, storages, tensors) is shared and never copied.

use std::ops::Range;
use std::sync::Arc;

/// Index of a node in the arena.
pub(super) type Id = usize;

/// A value on the pickle machine's stack.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// None, a float, bytes, a set or an object whose content is of no interest here.
    Opaque,
    Bool(bool),
    Int(i64),
    Str(Arc<str>),
    /// Bytes of the pickle.
    Bytes(Range<usize>),
    /// Text that stands for bytes, a character each (`_codecs.encode(…, "latin1")`).
    Latin1(Arc<str>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A callable or type from the list of known ones.
    Global(Global),
    /// ('storage', type, key, device, element count)
    Storage(Arc<Storage>),
    Tensor(Arc<Tensor>),
    /// numpy's type of elements.
    NumpyType(NumpyType),
    /// A numpy array; `None` before its content is set.
    Array(Option<Arc<Array>>),
}

/// numpy's type of elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NumpyType {
    /// What the bytes are; `None`: something that is no number, as of an array that no model needs.
    pub(super) dtype: Option<Dtype>,
    pub(super) big_endian: bool,
}

/// A numpy array.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Array {
    pub(super) shape: Vec<usize>,
    pub(super) of: NumpyType,
    /// Whether the first axis lies closest.
    pub(super) fortran: bool,
    pub(super) data: Content,
}

/// Where an array's bytes are.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// In the pickle.
    Bytes(Range<usize>),
    /// A character each.
    Latin1(Arc<str>),
}

/// The names a pickle may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Size,
    Storage(Dtype),
    NumpyType,
    /// An empty array, whose content is set afterwards.
    NumpyReconstruct,
    /// An array of a buffer (pickle's protocol 5).
    NumpyFromBuffer,
    /// Text → bytes.
    Encode,
    /// Constructs a record that is not looked into.
    Record,
}

/// Element types of torch storages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dtype {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Node {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Node::Opaque => "an object",
            Node::Bool(_) => "a truth value",
            Node::Int(_) => "a number",
            Node::Str(_) => "a text",
            Node::Bytes(_) | Node::Latin1(_) => "bytes",
            Node::List(_) => "a list",
            Node::Tuple(_) => "a tuple",
            Node::Dict(_) => "a dictionary",
            Node::Global(_) => "a type",
            Node::Storage(_) => "a storage",
            Node::Tensor(_) => "a tensor",
            Node::NumpyType(_) => "a type of numbers",
            Node::Array(_) => "an array",
        }
    }
}

impl NumpyType {
    /// Of numpy's name for it, such as `f4`, perhaps with a byte order before it.
    pub(super) fn named(name: &str) -> Self {
        let big_endian = name.starts_with('>');
        let dtype = match name.trim_start_matches(['<', '>', '=', '|']) {
            "f8" => Some(Dtype::F64),
            "f4" => Some(Dtype::F32),
            "f2" => Some(Dtype::F16),
            "i8" => Some(Dtype::I64),
            "i4" => Some(Dtype::I32),
            "i2" => Some(Dtype::I16),
            "i1" => Some(Dtype::I8),
            "u1" => Some(Dtype::U8),
            "b1" => Some(Dtype::Bool),
            _ => None,
        };
        Self { dtype, big_endian }
    }
}

impl Dtype {
    /// Bytes of one element.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }
}

/// A block of elements in the archive.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Storage {
    pub(super) dtype: Dtype,
    pub(super) key: Arc<str>,
}

/// A view of a storage, in elements.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub(super) storage: Arc<Storage>,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) stride: Vec<usize>,
}

/// The finished arena.
#[derive(Debug)]
pub(super) struct Pickle {
    pub(super) nodes: Vec<Node>,
    pub(super) root: Id,
    /// Its bytes, after which another may follow.
    pub(super) length: usize,
}

impl Global {
    /// The known callable or type of this name; `None` for everything else.
    pub(super) fn named(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
            ("torch", "Size") => Global::Size,
            ("torch", "DoubleStorage") => Global::Storage(Dtype::F64),
            ("torch", "FloatStorage") => Global::Storage(Dtype::F32),
            ("torch", "HalfStorage") => Global::Storage(Dtype::F16),
            ("torch", "BFloat16Storage") => Global::Storage(Dtype::BF16),
            ("torch", "LongStorage") => Global::Storage(Dtype::I64),
            ("torch", "IntStorage") => Global::Storage(Dtype::I32),
            ("torch", "ShortStorage") => Global::Storage(Dtype::I16),
            ("torch", "CharStorage") => Global::Storage(Dtype::I8),
            ("torch", "ByteStorage") => Global::Storage(Dtype::U8),
            ("torch", "BoolStorage") => Global::Storage(Dtype::Bool),
            ("torch", "device" | "float32" | "float16" | "bfloat16" | "float64" | "int64")
            | ("argparse", "Namespace")
            // what mmengine keeps beside the weights
            | ("mmengine.logging.history_buffer", "HistoryBuffer")
            | ("mmengine.config.config", "ConfigDict" | "Config")
            | ("collections", "defaultdict" | "Counter")
            | ("builtins", "set" | "dict" | "list" | "slice")
            | ("pathlib", "PosixPath" | "WindowsPath" | "PurePosixPath")
            | ("numpy", "ndarray")
            | ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Global::Record,
            ("numpy", "dtype") => Global::NumpyType,
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Global::NumpyReconstruct,
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Global::NumpyFromBuffer,
            ("_codecs", "encode") => Global::Encode,
            _ => return None,
        })
    }
}
