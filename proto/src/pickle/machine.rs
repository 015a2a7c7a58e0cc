//! The parts of the machine that work on its stack: containers filled and
//! instances made from what was pushed.

use std::borrow::Cow;

use super::arena::{Id, Instance, Node};
use super::decode::{Result, Unpickler};
use super::error::Problem;
use super::policy::Globals;
use crate::value::Value;

const LATE: Problem = Problem::WrongKind("items are added to an instance that has its state");

impl<'a> Unpickler<'a> {
    #[cold]
    pub(super) fn fail<T>(&self, problem: Problem) -> Result<T> {
        Err(self.input.error(problem))
    }

    #[inline]
    pub(super) fn push(&mut self, node: Node<'a>) -> Result<()> {
        match self.arena.add(node, self.policy.max_values) {
            Ok(id) => {
                self.stack.push(id);
                Ok(())
            }
            Err(problem) => self.fail(problem),
        }
    }

    /// The length of the stack without its topmost `count` values, which
    /// must stand above the last mark.
    pub(super) fn below_top(&self, count: usize) -> Result<usize> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count) {
            Some(below) if below >= floor => Ok(below),
            _ => self.fail(Problem::StackUnderflow),
        }
    }

    pub(super) fn top(&self) -> Result<Id> {
        let below = self.below_top(1)?;
        match self.stack.get(below) {
            Some(&id) => Ok(id),
            None => self.fail(Problem::StackUnderflow),
        }
    }

    pub(super) fn pop(&mut self) -> Result<Id> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    /// Takes the last mark off: the length of the stack where it was set.
    pub(super) fn pop_mark(&mut self) -> Result<usize> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(mark),
            _ => self.fail(Problem::NoMark),
        }
    }

    pub(super) fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.pop_mark()?;
        Ok(self.stack.split_off(mark))
    }

    /// Replaces what stands on the stack from `start` by a tuple of it.
    pub(super) fn push_tuple(&mut self, start: usize) -> Result<()> {
        if start > self.stack.len() {
            return self.fail(Problem::StackUnderflow);
        }
        let tuple = self.arena.tuple(self.stack.drain(start..));
        self.push(tuple)
    }

    /// The value below `start`, to which what stands from there belongs.
    fn target(&self, start: usize) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match start.checked_sub(1).filter(|&at| at >= floor) {
            Some(at) => match self.stack.get(at) {
                Some(&id) => Ok(id),
                None => self.fail(Problem::StackUnderflow),
            },
            None => self.fail(Problem::StackUnderflow),
        }
    }

    /// APPEND, APPENDS: what stands from `start` goes to the list or the
    /// instance below.
    pub(super) fn append(&mut self, start: usize) -> Result<()> {
        let target = self.target(start)?;
        let to = match self.arena.get_mut(target) {
            Some(Node::List(items)) => items,
            Some(Node::Instance(instance)) if self.ordered && instance.state.is_some() => {
                return self.fail(LATE);
            }
            Some(Node::Instance(instance)) => &mut instance.items,
            _ => {
                return self.fail(Problem::WrongKind(
                    "items are appended to a value that is not a list",
                ));
            }
        };
        to.extend(self.stack.drain(start..));
        Ok(())
    }

    /// SETITEM, SETITEMS: what stands from `start` goes to the dict or the
    /// instance below.
    pub(super) fn set_items(&mut self, start: usize) -> Result<()> {
        let target = self.target(start)?;
        self.check_pairs(self.stack.get(start..).unwrap_or_default())?;
        let to = match self.arena.get_mut(target) {
            Some(Node::Dict(items)) => items,
            Some(Node::Instance(instance)) if self.ordered && instance.state.is_some() => {
                return self.fail(LATE);
            }
            Some(Node::Instance(instance)) => &mut instance.pairs,
            _ => {
                return self.fail(Problem::WrongKind(
                    "items are set in a value that is not a dict",
                ));
            }
        };
        to.extend(self.stack.drain(start..));
        Ok(())
    }

    pub(super) fn check_pairs(&self, items: &[Id]) -> Result<()> {
        if items.len().is_multiple_of(2) {
            Ok(())
        } else {
            self.fail(Problem::OddItems)
        }
    }

    /// A set as protocols before 4 write it: `set([item, ...])`.
    pub(super) fn push_set(&mut self, name: &'static str, items: Vec<Id>) -> Result<()> {
        self.push_global("builtins".into(), name.into())?;
        self.push(Node::List(items))?;
        let list = self.below_top(1)?;
        self.push_tuple(list)?;
        self.call(false)
    }

    /// ADDITEMS: to the list that [`Self::push_set`] gave the set.
    pub(super) fn add_items(&mut self) -> Result<()> {
        let mark = self.pop_mark()?;
        let target = self.target(mark)?;
        let list = match self.arena.get(target) {
            Some(Node::Instance(set)) => self.arena.tuple_items(set.args),
            _ => None,
        };
        let list = list.and_then(|args| args.first().copied());
        match list.and_then(|list| self.arena.get_mut(list)) {
            Some(Node::List(items)) => {
                items.extend(self.stack.drain(mark..));
                Ok(())
            }
            _ => self.fail(Problem::WrongKind(
                "items are added to a value that is not a set",
            )),
        }
    }

    pub(super) fn push_global(&mut self, module: Cow<'a, str>, name: Cow<'a, str>) -> Result<()> {
        if !self.policy.allows(&module) {
            return self.fail(Problem::Global {
                module: module.into_owned(),
                name: name.into_owned(),
            });
        }
        // GLOBAL, by which it would be written again, ends names by newline.
        if module.contains('\n') || name.contains('\n') {
            return self.fail(Problem::Text("a global's name"));
        }
        self.push(Node::Leaf(Value::Global { module, name }))
    }

    /// EXT1, EXT2, EXT4. What a code stands for, the application alone knows.
    pub(super) fn push_extension(&mut self, code: u32) -> Result<()> {
        if self.policy.globals != Globals::Any {
            return self.fail(Problem::Unsupported("extension codes"));
        }
        if code == 0 || code > i32::MAX.unsigned_abs() {
            return self.fail(Problem::ExtensionCode(code));
        }
        self.push(Node::Leaf(Value::Extension(code)))
    }

    pub(super) fn stack_global(&mut self) -> Result<()> {
        let name = self.pop()?;
        let module = self.pop()?;
        match (self.arena.leaf(module), self.arena.leaf(name)) {
            (Some(Value::Str(module)), Some(Value::Str(name))) => {
                let (module, name) = (module.clone(), name.clone());
                self.push_global(module, name)
            }
            _ => self.fail(Problem::WrongKind("a global's name is not text")),
        }
    }

    /// REDUCE and NEWOBJ: a callable and its arguments become an instance,
    /// or the byte string that they stand for.
    pub(super) fn call(&mut self, new: bool) -> Result<()> {
        let args = self.pop()?;
        let callable = self.pop()?;
        if self.arena.tuple_items(args).is_none() {
            return self.fail(Problem::WrongKind(
                "the arguments of a call are not a tuple",
            ));
        }
        match self.bytes_of_call(callable, args) {
            Some(bytes) => self.push(Node::Leaf(Value::Bytes(bytes))),
            None => self.push_instance(callable, args, new),
        }
    }

    fn push_instance(&mut self, callable: Id, args: Id, new: bool) -> Result<()> {
        self.push(Node::Instance(Box::new(Instance {
            callable,
            args,
            new,
            state: None,
            items: Vec::new(),
            pairs: Vec::new(),
        })))
    }

    /// INST and OBJ: without arguments, the instance is made without a call.
    pub(super) fn push_classic(&mut self, class: Id, args: Id) -> Result<()> {
        let new = self.arena.tuple_items(args).is_some_and(<[Id]>::is_empty);
        self.push_instance(class, args, new)
    }

    /// NEWOBJ_EX; with keywords as the call of `copyreg.__newobj_ex__` that
    /// protocols before 4 would write.
    pub(super) fn new_with_keywords(&mut self) -> Result<()> {
        let keywords = self.top()?;
        match self.arena.get(keywords) {
            Some(Node::Dict(items)) if items.is_empty() => {
                self.pop()?;
                self.call(true)
            }
            Some(Node::Dict(_)) => {
                let start = self.below_top(3)?;
                self.push_tuple(start)?;
                let args = self.pop()?;
                self.push_global("copyreg".into(), "__newobj_ex__".into())?;
                self.stack.push(args);
                self.call(false)
            }
            _ => self.fail(Problem::WrongKind("the keywords of a call are not a dict")),
        }
    }

    pub(super) fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let target = self.top()?;
        match self.arena.get_mut(target) {
            Some(Node::Instance(instance)) if instance.state.is_none() => {
                instance.state = Some(state);
                Ok(())
            }
            Some(Node::Instance(_)) => {
                self.fail(Problem::WrongKind("an instance is given a second state"))
            }
            _ => self.fail(Problem::WrongKind(
                "a state is given to a value that is not an instance",
            )),
        }
    }

    pub(super) fn push_persistent(&mut self) -> Result<()> {
        let id = self.pop()?;
        if !self.policy.persistent {
            return self.fail(Problem::Persistent);
        }
        self.push(Node::Persistent(id))
    }

    /// The byte string that a call makes, where it is one of the ways by
    /// which pickles of protocols before 3 hold `bytes`:
    /// `zodbpickle.binary(str)`, `bytes()`, `_codecs.encode(text, 'latin1')`.
    fn bytes_of_call(&self, callable: Id, args: Id) -> Option<Cow<'a, [u8]>> {
        let Some(Value::Global { module, name }) = self.arena.leaf(callable) else {
            return None;
        };
        let args = self.arena.tuple_items(args)?;
        let arg = |n: usize| args.get(n).and_then(|&id| self.arena.leaf(id));
        match (&**module, &**name, args.len()) {
            ("zodbpickle", "binary", 0) | ("builtins" | "__builtin__", "bytes", 0) => {
                Some(Cow::Borrowed(&[]))
            }
            ("zodbpickle", "binary", 1) => match arg(0)? {
                Value::Bytes(bytes) => Some(bytes.clone()),
                // A Python 2 `str` of ASCII characters.
                Value::Str(text) if text.is_ascii() => Some(latin1(text)?),
                _ => None,
            },
            ("_codecs", "encode", 2) => match (arg(0)?, arg(1)?) {
                (Value::Str(text), Value::Str(codec)) if codec == "latin1" => latin1(text),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The characters as bytes, if each is one.
fn latin1<'a>(text: &Cow<'a, str>) -> Option<Cow<'a, [u8]>> {
    match text {
        Cow::Borrowed(text) if text.is_ascii() => Some(Cow::Borrowed(text.as_bytes())),
        _ => {
            let bytes = text.chars().map(|char| u8::try_from(u32::from(char)).ok());
            bytes.collect::<Option<Vec<u8>>>().map(Cow::Owned)
        }
    }
}
