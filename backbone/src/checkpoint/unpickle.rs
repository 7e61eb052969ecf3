//! A restricted pickle machine: builds a tree of plain data and tensor descriptions, executes nothing.
//!
//! Covers the opcodes that `torch.save` and pickled numpy arrays need, in protocols 2 to 5. Objects live in an arena and are referred
//! to by index, so shared and cyclic structures cost nothing and cannot recurse. Every opcode adds at most one
//! object and consumes at least one byte; string lengths are compared with the bytes that are left, and every object is
//! paid for from the file's [`Budget`], before anything is allocated. Of the callables that a pickle may name, a short
//! list is known by effect; plain records (argparse.Namespace, numpy scalars, paths) become [`Node::Opaque`];
//! anything else is an error.

use super::CheckpointError;
use super::budget::{Budget, OverBudget};
use super::pickle_calls::Called;
use super::pickle_nodes::{Global, Id, Node, Pickle};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Why a pickle was refused.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// It names something that is not on the list: module.name.
    Global(String),
    /// It breaks the format: position and reason.
    Malformed(String),
    /// It describes more than its file gives reason for.
    OverBudget(OverBudget),
}

impl Refusal {
    /// The error of a reader of `format`.
    pub(super) fn error(self, path: &Path, format: &'static str) -> CheckpointError {
        let path = path.to_owned();
        match self {
            Self::Global(global) => CheckpointError::ForbiddenGlobal { path, global },
            Self::Malformed(reason) => CheckpointError::Corrupt { path, format, reason },
            Self::OverBudget(over) => over.error(&path),
        }
    }
}

impl From<OverBudget> for Refusal {
    fn from(over: OverBudget) -> Self {
        Refusal::OverBudget(over)
    }
}

/// Bytes of an entry of the stack: the index, and once more for the container it ends up in, both in growing lists.
const ENTRY: usize = 4 * size_of::<Id>();
/// Bytes of an entry of the memo.
const MEMO: usize = 4 * size_of::<(usize, Id)>();
/// Longest name of a global that a message repeats.
const SHOWN: usize = 200;

/// Runs the machine over a pickle.
pub(super) fn unpickle(bytes: &[u8], budget: &mut Budget) -> Result<Pickle, Refusal> {
    let mut machine = Machine {
        bytes,
        budget,
        at: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    match machine.run() {
        Ok(root) => Ok(Pickle { nodes: machine.nodes, root, length: machine.at }),
        Err(Refusal::Malformed(reason)) => {
            Err(Refusal::Malformed(format!("pickle byte {}: {reason}", machine.at)))
        }
        Err(other) => Err(other),
    }
}

pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    pub(super) budget: &'a mut Budget,
    at: usize,
    pub(super) nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Stack heights at the open MARKs.
    marks: Vec<usize>,
    memo: HashMap<usize, Id>,
}

pub(super) fn malformed<T>(reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Malformed(reason.into()))
}

impl Machine<'_> {
    fn run(&mut self) -> Result<Id, Refusal> {
        loop {
            let op = self.take::<1>()?[0];
            match op {
                0x80 => {
                    let protocol = self.take::<1>()?[0];
                    if !(2..=5).contains(&protocol) {
                        return malformed(format!("protocol {protocol}, expected 2 to 5"));
                    }
                }
                0x95 => drop(self.take::<8>()?),
                b'.' => return self.pop(),
                b'(' => {
                    self.budget.take(ENTRY)?;
                    self.marks.push(self.stack.len());
                }
                b'0' => drop(self.pop()?),
                b'1' => drop(self.pop_mark()?),
                b'2' => {
                    let top = self.top()?;
                    self.push_again(top)?;
                }
                b'N' => self.push(Node::Opaque)?,
                0x88 => self.push(Node::Bool(true))?,
                0x89 => self.push(Node::Bool(false))?,
                b'J' => self.int(|m| Ok(i32::from_le_bytes(m.take()?).into()))?,
                b'K' => self.int(|m| Ok(m.take::<1>()?[0].into()))?,
                b'M' => self.int(|m| Ok(u16::from_le_bytes(m.take()?).into()))?,
                0x8a => {
                    let length = self.take::<1>()?[0].into();
                    self.long(length)?;
                }
                0x8b => {
                    let length = self.length::<4>()?;
                    self.long(length)?;
                }
                b'G' => {
                    self.take::<8>()?;
                    self.push(Node::Opaque)?;
                }
                b'X' => self.string::<4>()?,
                0x8c => self.string::<1>()?,
                0x8d => self.string::<8>()?,
                // Python 2's texts, which are bytes too.
                b'U' => self.latin1::<1>()?,
                b'T' => self.latin1::<4>()?,
                b'C' => self.blob::<1>()?,
                b'B' => self.blob::<4>()?,
                0x8e | 0x96 => self.blob::<8>()?,
                b']' => self.push(Node::List(Vec::new()))?,
                b')' => self.push(Node::Tuple(Vec::new()))?,
                b'}' => self.push(Node::Dict(Vec::new()))?,
                0x8f => self.push(Node::Opaque)?,
                b'l' => {
                    let items = self.pop_mark()?;
                    self.push(Node::List(items))?;
                }
                b't' => {
                    let items = self.pop_mark()?;
                    self.push(Node::Tuple(items))?;
                }
                0x91 => {
                    self.pop_mark()?;
                    self.push(Node::Opaque)?;
                }
                0x85..=0x87 => {
                    let mut items = Vec::new();
                    for _ in 0..op - 0x84 {
                        items.insert(0, self.pop()?);
                    }
                    self.push(Node::Tuple(items))?;
                }
                b'd' => {
                    let items = self.pop_mark()?;
                    self.push(Node::Dict(pairs(&items)?))?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.extend_list(&[item])?;
                }
                b'e' => {
                    let items = self.pop_mark()?;
                    self.extend_list(&items)?;
                }
                0x90 => drop(self.pop_mark()?),
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.extend_dict(&[key, value])?;
                }
                b'u' => {
                    let items = self.pop_mark()?;
                    self.extend_dict(&items)?;
                }
                b'q' => {
                    let key = self.take::<1>()?[0].into();
                    self.remember(key)?;
                }
                b'r' => {
                    let key = u32::from_le_bytes(self.take()?) as usize;
                    self.remember(key)?;
                }
                0x94 => self.remember(self.memo.len())?,
                b'h' => {
                    let key = self.take::<1>()?[0].into();
                    self.recall(key)?;
                }
                b'j' => {
                    let key = u32::from_le_bytes(self.take()?) as usize;
                    self.recall(key)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.named(&module, &name)?;
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Node::Str(module), Node::Str(name)) = (&self.nodes[module], &self.nodes[name])
                    else {
                        return malformed("a global whose name is not text");
                    };
                    let (module, name) = (module.clone(), name.clone());
                    self.named(&module, &name)?;
                }
                // NEWOBJ is cls.__new__(cls, *args): for the known types the same as a call.
                b'R' | 0x81 => {
                    let (arguments, callable) = (self.pop()?, self.pop()?);
                    match self.call(callable, arguments)? {
                        Called::New(node) => self.push(node)?,
                        Called::Same(id) => self.push_again(id)?,
                    }
                }
                b'b' => {
                    let state = self.pop()?;
                    let object = self.top()?;
                    self.set_state(object, state)?;
                }
                b'Q' => {
                    let id = self.pop()?;
                    let storage = self.persistent(id)?;
                    self.push(Node::Storage(storage))?;
                }
                _ => return malformed(format!("opcode 0x{op:02x} is not one that plain tensors need")),
            }
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let bytes = self.slice(N)?;
        bytes.try_into().or_else(|_| malformed("the pickle ends early"))
    }

    fn slice(&mut self, length: usize) -> Result<&[u8], Refusal> {
        let Some(slice) = self.bytes.get(self.at..).and_then(|rest| rest.get(..length)) else {
            return malformed(format!("{length} bytes announced, {} left", self.bytes.len() - self.at));
        };
        self.at += length;
        Ok(slice)
    }

    /// A little-endian length of N bytes.
    fn length<const N: usize>(&mut self) -> Result<usize, Refusal> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(&self.take::<N>()?);
        usize::try_from(u64::from_le_bytes(wide)).or_else(|_| malformed("a length beyond memory"))
    }

    fn line(&mut self) -> Result<String, Refusal> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|&b| b == b'\n') else {
            return malformed("a name without an end");
        };
        let text = String::from_utf8_lossy(&rest[..end]).into_owned();
        self.at += end + 1;
        Ok(text)
    }

    fn int(&mut self, read: impl FnOnce(&mut Self) -> Result<i64, Refusal>) -> Result<(), Refusal> {
        let value = read(self)?;
        self.push(Node::Int(value))
    }

    fn long(&mut self, length: usize) -> Result<(), Refusal> {
        let bytes = self.slice(length)?;
        let node = if bytes.len() <= 8 {
            let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
            let mut wide = if negative { [0xff; 8] } else { [0; 8] };
            wide[..bytes.len()].copy_from_slice(bytes);
            Node::Int(i64::from_le_bytes(wide))
        } else {
            Node::Opaque
        };
        self.push(node)
    }

    fn string<const N: usize>(&mut self) -> Result<(), Refusal> {
        let length = self.length::<N>()?;
        // A byte that is not UTF-8 becomes three.
        self.budget.take(length.saturating_mul(3))?;
        let text: Arc<str> = String::from_utf8_lossy(self.slice(length)?).into();
        self.push(Node::Str(text))
    }

    fn blob<const N: usize>(&mut self) -> Result<(), Refusal> {
        let length = self.length::<N>()?;
        self.slice(length)?;
        self.push(Node::Bytes(self.at - length..self.at))
    }

    fn latin1<const N: usize>(&mut self) -> Result<(), Refusal> {
        let length = self.length::<N>()?;
        // A byte above 127 becomes two.
        self.budget.take(length.saturating_mul(2))?;
        let text: String = self.slice(length)?.iter().map(|&byte| char::from(byte)).collect();
        self.push(Node::Str(text.into()))
    }

    fn push(&mut self, node: Node) -> Result<(), Refusal> {
        // Twice, because a list that grows is there twice for a moment.
        self.budget.take(2 * size_of::<Node>())?;
        self.nodes.push(node);
        self.push_again(self.nodes.len() - 1)
    }

    fn push_again(&mut self, id: Id) -> Result<(), Refusal> {
        self.budget.take(ENTRY)?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, Refusal> {
        // A mark is a floor: popping through it would mix up two containers.
        match self.stack.pop() {
            Some(id) if self.marks.last().is_none_or(|&mark| self.stack.len() >= mark) => Ok(id),
            _ => malformed("the stack is empty"),
        }
    }

    fn top(&self) -> Result<Id, Refusal> {
        self.stack.last().copied().map_or_else(|| malformed("the stack is empty"), Ok)
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, Refusal> {
        let Some(mark) = self.marks.pop() else { return malformed("no mark on the stack") };
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn remember(&mut self, key: usize) -> Result<(), Refusal> {
        let top = self.top()?;
        self.budget.take(MEMO)?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: usize) -> Result<(), Refusal> {
        let Some(&id) = self.memo.get(&key) else { return malformed(format!("no memo entry {key}")) };
        self.push_again(id)
    }

    fn extend_list(&mut self, items: &[Id]) -> Result<(), Refusal> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::List(list) => list.extend_from_slice(items),
            Node::Opaque => {}
            _ => return malformed("an append to something that is not a list"),
        }
        Ok(())
    }

    fn extend_dict(&mut self, items: &[Id]) -> Result<(), Refusal> {
        let new = pairs(items)?;
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::Dict(dict) => dict.extend(new),
            Node::Opaque => {}
            _ => return malformed("an item set on something that is not a dictionary"),
        }
        Ok(())
    }

    fn named(&mut self, module: &str, name: &str) -> Result<(), Refusal> {
        let known = Global::named(module, name)
            .ok_or_else(|| Refusal::Global(format!("{module}.{name}").chars().take(SHOWN).collect()))?;
        self.push(Node::Global(known))
    }
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, Refusal> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return malformed("a key without a value");
    }
    Ok(pairs.iter().map(|&[k, v]| (k, v)).collect())
}
