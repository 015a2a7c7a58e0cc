//! The machine that runs a pickle, and imports and calls nothing.

use std::borrow::Cow;

use super::arena::{Arena, Budget, Id, Node};
use super::error::{Error, Problem};
use super::memo::Memo;
use super::opcodes as op;
use super::policy::Policy;
use super::reader::Reader;
use super::text::int_from_le;
use crate::value::Value;

pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

/// Decodes the one pickle that these bytes are.
///
/// # Errors
/// [`Error`], with the position: the pickle is cut off, malformed, beyond the policy, or followed
/// by other bytes.
pub fn decode<'a>(bytes: &'a [u8], policy: &Policy) -> Result<Value<'a>> {
    let (value, used) = decode_prefix(bytes, policy)?;
    match bytes.len() - used {
        0 => Ok(value),
        trailing => Err(Error {
            at: used,
            problem: Problem::Trailing(trailing),
        }),
    }
}

/// Decodes the pickle that these bytes begin with, and tells its length.
/// For pickles that follow each other and share a memo, as the two of a ZODB
/// record may, use an [`Unpickler`].
///
/// # Errors
/// [`Error`], with the position: the pickle is cut off, malformed or beyond the policy.
pub fn decode_prefix<'a>(bytes: &'a [u8], policy: &Policy) -> Result<(Value<'a>, usize)> {
    let mut unpickler = Unpickler::new(bytes, policy);
    let value = unpickler.value()?;
    Ok((value, unpickler.position()))
}

/// Decodes pickles that follow each other and share a memo: what one Python
/// `Unpickler` loads in several calls. ZODB writes a record (class, then
/// state) with one pickler, and the state may refer to parts of the class.
pub struct Unpickler<'a> {
    pub(super) policy: Policy,
    pub(super) input: Reader<'a>,
    pub(super) arena: Arena<'a>,
    pub(super) stack: Vec<Id>,
    /// Lengths of the stack at each MARK.
    pub(super) marks: Vec<usize>,
    pub(super) memo: Memo,
    /// Whether only persistent ids are wanted, of which numbers are no part.
    pub(super) skims: bool,
    /// Whether what is added to an instance must come before its state, as Python writes it.
    pub(super) ordered: bool,
    /// The nodes with parts that were fetched from the memo or doubled.
    pub(super) fetched: Vec<Id>,
    /// What stands for all values that are not wanted.
    blank: Option<Id>,
}

impl<'a> Unpickler<'a> {
    /// A machine at the begin of these bytes, with an empty memo.
    pub fn new(bytes: &'a [u8], policy: &Policy) -> Self {
        Unpickler {
            policy: *policy,
            input: Reader::new(bytes),
            arena: Arena::new(),
            stack: Vec::with_capacity(16),
            marks: Vec::new(),
            memo: Memo::default(),
            skims: false,
            ordered: false,
            fetched: Vec::new(),
            blank: None,
        }
    }

    /// The value of the next pickle, as a tree: what the pickle shares is
    /// copied, and what contains itself is refused.
    ///
    /// # Errors
    /// [`Error`], with the position: the pickle is cut off, malformed or beyond the policy, or the
    /// value contains itself.
    pub fn value(&mut self) -> Result<Value<'a>> {
        let root = self.run()?;
        let mut budget = Budget::new(self.policy.tree_limit(self.position()));
        self.arena
            .build(root, self.policy.max_depth, &mut budget)
            .map_err(|problem| self.input.error(problem))
    }

    /// The persistent ids in the next pickle, in the order of their
    /// creation. Unlike [`Self::value`] this takes pickles of any depth, of
    /// any sharing, and of values that contain themselves; with numbers of
    /// any length, any number of them, and text with lone surrogates.
    ///
    /// # Errors
    /// [`Error`], with the position: the pickle is cut off or malformed, or an id is beyond the
    /// policy.
    pub fn persistent_ids(&mut self) -> Result<Vec<Value<'a>>> {
        let first = self.arena.len();
        self.skims = true;
        let run = self.run();
        self.skims = false;
        run?;
        let mut budget = Budget::new(self.policy.max_values);
        self.arena
            .persistent_since(first)
            .map(|id| self.arena.build(id, self.policy.max_depth, &mut budget))
            .collect::<Result<_, _>>()
            .map_err(|problem| self.input.error(problem))
    }

    /// How many bytes were read.
    pub fn position(&self) -> usize {
        self.input.position()
    }

    /// Runs one pickle up to its STOP, and gives its result.
    pub(super) fn run(&mut self) -> Result<Id> {
        self.stack.clear();
        self.marks.clear();
        loop {
            let opcode = self.input.opcode()?;
            if opcode == op::STOP {
                break;
            }
            self.step(opcode)?;
        }
        let result = self.pop()?;
        match self.stack.len() + self.marks.len() {
            0 => Ok(result),
            left => self.fail(Problem::StackLeft(left)),
        }
    }

    /// Numbers, text and bytes; everything else goes on to the next step.
    fn step(&mut self, opcode: u8) -> Result<()> {
        let input = &mut self.input;
        let value = match opcode {
            op::NONE => Value::None,
            op::NEWTRUE => Value::Bool(true),
            op::NEWFALSE => Value::Bool(false),
            op::BININT1 => Value::Int(input.u8()?.into()),
            op::BININT2 => Value::Int(u16::from_le_bytes(input.array()?).into()),
            op::BININT => Value::Int(i32::from_le_bytes(input.array()?).into()),
            op::LONG1 => int_from_le(input.counted1()?),
            op::LONG4 => int_from_le(input.counted4()?),
            op::BINFLOAT => Value::Float(f64::from_be_bytes(input.array()?)),
            op::SHORT_BINBYTES => Value::bytes(input.counted1()?),
            op::BINBYTES => Value::bytes(input.counted4()?),
            op::BINBYTES8 => Value::bytes(input.counted8()?),
            op::BINUNICODE => {
                let bytes = input.counted4()?;
                self.text(bytes)?
            }
            op::SHORT_BINUNICODE => {
                let bytes = input.counted1()?;
                self.text(bytes)?
            }
            op::BINUNICODE8 => {
                let bytes = input.counted8()?;
                self.text(bytes)?
            }
            op::SHORT_BINSTRING => {
                let bytes = input.counted1()?;
                self.python2_str(Cow::Borrowed(bytes))?
            }
            op::BINSTRING => {
                let bytes = input.counted4()?;
                self.python2_str(Cow::Borrowed(bytes))?
            }
            op::INT | op::LONG | op::FLOAT | op::STRING | op::UNICODE => self.literal(opcode)?,
            _ => return self.step_structure(opcode),
        };
        match value {
            Value::Str(_) | Value::Bytes(_) => self.push(Node::Leaf(value)),
            _ if self.skims => self.push_blank(),
            _ => self.push(Node::Leaf(value)),
        }
    }

    fn push_blank(&mut self) -> Result<()> {
        match self.blank {
            Some(id) => self.stack.push(id),
            None => {
                self.push(Node::Leaf(Value::None))?;
                self.blank = Some(self.top()?);
            }
        }
        Ok(())
    }

    /// Containers, the stack and the memo.
    fn step_structure(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            op::MARK => self.marks.push(self.stack.len()),
            op::EMPTY_TUPLE => self.push_tuple(self.stack.len())?,
            op::TUPLE1 => self.push_tuple(self.below_top(1)?)?,
            op::TUPLE2 => self.push_tuple(self.below_top(2)?)?,
            op::TUPLE3 => self.push_tuple(self.below_top(3)?)?,
            op::TUPLE => {
                let mark = self.pop_mark()?;
                self.push_tuple(mark)?;
            }
            op::EMPTY_LIST => self.push(Node::List(Vec::new()))?,
            op::LIST => {
                let items = self.pop_to_mark()?;
                self.push(Node::List(items))?;
            }
            op::EMPTY_DICT => self.push(Node::Dict(Vec::new()))?,
            op::DICT => {
                let items = self.pop_to_mark()?;
                self.check_pairs(&items)?;
                self.push(Node::Dict(items))?;
            }
            op::APPEND => self.append(self.below_top(1)?)?,
            op::APPENDS => {
                let mark = self.pop_mark()?;
                self.append(mark)?;
            }
            op::SETITEM => self.set_items(self.below_top(2)?)?,
            op::SETITEMS => {
                let mark = self.pop_mark()?;
                self.set_items(mark)?;
            }
            op::EMPTY_SET => self.push_set("set", Vec::new())?,
            op::FROZENSET => {
                let items = self.pop_to_mark()?;
                self.push_set("frozenset", items)?;
            }
            op::ADDITEMS => self.add_items()?,
            op::POP if self.marks.last() == Some(&self.stack.len()) => {
                self.marks.pop();
            }
            op::POP => {
                self.pop()?;
            }
            op::POP_MARK => {
                let mark = self.pop_mark()?;
                self.stack.truncate(mark);
            }
            op::DUP => self.double()?,
            op::PROTO => match self.input.u8()? {
                0..=5 => {}
                later => return self.fail(Problem::Protocol(later)),
            },
            op::FRAME => self.frame()?,
            op::BINPUT => {
                let index = self.input.u8()?;
                self.put(index.into())?;
            }
            op::LONG_BINPUT => {
                let index = u32::from_le_bytes(self.input.array()?);
                self.put(index.into())?;
            }
            op::PUT => {
                let index = self.decimal()?;
                self.put(index)?;
            }
            op::MEMOIZE => self.put(self.memo.entries())?,
            op::BINGET => {
                let index = self.input.u8()?;
                self.fetch(index.into())?;
            }
            op::LONG_BINGET => {
                let index = u32::from_le_bytes(self.input.array()?);
                self.fetch(index.into())?;
            }
            op::GET => {
                let index = self.decimal()?;
                self.fetch(index)?;
            }
            _ => return self.step_instance(opcode),
        }
        Ok(())
    }

    /// Globals, instances and persistent references.
    fn step_instance(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            op::GLOBAL => {
                let module = self.input.text_line("a module name")?;
                let name = self.input.text_line("a global's name")?;
                self.push_global(Cow::Borrowed(module), Cow::Borrowed(name))
            }
            op::STACK_GLOBAL => self.stack_global(),
            op::REDUCE => self.call(false),
            op::NEWOBJ => self.call(true),
            op::NEWOBJ_EX => self.new_with_keywords(),
            op::BUILD => self.build(),
            op::INST => {
                let mark = self.pop_mark()?;
                let module = self.input.text_line("a module name")?;
                let name = self.input.text_line("a class name")?;
                self.push_tuple(mark)?;
                let args = self.pop()?;
                self.push_global(Cow::Borrowed(module), Cow::Borrowed(name))?;
                let class = self.pop()?;
                self.push_classic(class, args)
            }
            op::OBJ => {
                let mark = self.pop_mark()?;
                let Some(&class) = self.stack.get(mark) else {
                    return self.fail(Problem::StackUnderflow);
                };
                self.push_tuple(mark.saturating_add(1))?;
                let args = self.pop()?;
                self.pop()?;
                self.push_classic(class, args)
            }
            op::PERSID => {
                let id = self.input.text_line("a persistent id")?;
                self.push(Node::Leaf(Value::str(id)))?;
                self.push_persistent()
            }
            op::BINPERSID => self.push_persistent(),
            op::BYTEARRAY8 => {
                let bytes = self.input.counted8()?;
                self.push_global("builtins".into(), "bytearray".into())?;
                self.push(Node::Leaf(Value::bytes(bytes)))?;
                self.push_tuple(self.below_top(1)?)?;
                self.call(false)
            }
            op::EXT1 => {
                let code = self.input.u8()?;
                self.push_extension(code.into())
            }
            op::EXT2 => {
                let code = u16::from_le_bytes(self.input.array()?);
                self.push_extension(code.into())
            }
            op::EXT4 => {
                let code = u32::from_le_bytes(self.input.array()?);
                self.push_extension(code)
            }
            op::NEXT_BUFFER | op::READONLY_BUFFER => {
                self.fail(Problem::Unsupported("out-of-band buffers"))
            }
            unknown => self.fail(Problem::UnknownOpcode(unknown)),
        }
    }
}
