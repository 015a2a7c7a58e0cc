//! The parts of the machine that read an opcode's operand into a value, and
//! the memo.

use std::borrow::Cow;

use super::arena::Id;
use super::decode::{Result, Unpickler};
use super::error::Problem;
use super::opcodes as op;
use super::policy::Strings;
use super::text::{long_from_decimal, raw_unicode, unquote};
use crate::value::Value;

impl<'a> Unpickler<'a> {
    /// Protocol 0: the argument is a line of text.
    pub(super) fn literal(&mut self, opcode: u8) -> Result<Value<'a>> {
        let line = self.input.line()?;
        let ascii = || std::str::from_utf8(line).unwrap_or("").trim();
        let (value, what) = match opcode {
            op::INT if line == b"00" => (Some(Value::Bool(false)), "a bool"),
            op::INT if line == b"01" => (Some(Value::Bool(true)), "a bool"),
            op::INT | op::LONG => {
                let digits = ascii();
                let digits = digits.strip_suffix('L').unwrap_or(digits);
                let int = match digits.parse() {
                    Ok(int) => Some(Value::Int(int)),
                    Err(_) if !is_decimal(digits) => None,
                    Err(_) if self.skims => Some(Value::None),
                    Err(_) => long_from_decimal(digits),
                };
                (int, "an int")
            }
            op::FLOAT => (ascii().parse().ok().map(Value::Float), "a float"),
            op::STRING => {
                let value = unquote(line).map(|bytes| self.python2_str(bytes));
                (value.transpose()?, "a string")
            }
            // Lone surrogates.
            _ if self.skims => (Some(raw_unicode(line).map_or(Value::None, Value::Str)), ""),
            _ => (raw_unicode(line).map(Value::Str), "a unicode string"),
        };
        value.ok_or_else(|| self.input.error(Problem::Literal(what)))
    }

    pub(super) fn text(&self, bytes: &'a [u8]) -> Result<Value<'a>> {
        match self.input.utf8(bytes, "a str") {
            Ok(text) => Ok(Value::str(text)),
            Err(_) if is_text_of_python(bytes) => Ok(Value::Surrogates(bytes.into())),
            Err(error) => Err(error),
        }
    }

    pub(super) fn python2_str(&self, bytes: Cow<'a, [u8]>) -> Result<Value<'a>> {
        match self.policy.strings {
            Strings::Bytes => return Ok(Value::Bytes(bytes)),
            _ if bytes.is_ascii() => {}
            Strings::Text => return Ok(Value::Bytes(bytes)),
            Strings::Ascii => return self.fail(Problem::Text("a str of Python 2")),
        }
        Ok(match bytes {
            Cow::Borrowed(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Value::str(text),
                Err(_) => Value::bytes(bytes),
            },
            Cow::Owned(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Value::Str(Cow::Owned(text)),
                Err(error) => Value::Bytes(Cow::Owned(error.into_bytes())),
            },
        })
    }

    pub(super) fn decimal(&mut self) -> Result<u64> {
        let line = self.input.text_line("a memo index")?;
        line.trim()
            .parse()
            .map_err(|_| self.input.error(Problem::Literal("a memo index")))
    }

    /// A frame says how many of the following bytes belong together; that it
    /// says no more than there are is all that matters here.
    pub(super) fn frame(&mut self) -> Result<()> {
        let length = u64::from_le_bytes(self.input.array()?);
        let left = self.input.left();
        match usize::try_from(length) {
            Ok(length) if length <= left => Ok(()),
            _ => self.fail(Problem::Truncated {
                needed: usize::try_from(length).unwrap_or(usize::MAX),
                left,
            }),
        }
    }

    pub(super) fn put(&mut self, index: u64) -> Result<()> {
        let id = self.top()?;
        self.memo
            .put(index, id, self.policy.max_memo)
            .map_err(|problem| self.input.error(problem))
    }

    pub(super) fn fetch(&mut self, index: u64) -> Result<()> {
        match self.memo.get(index) {
            Some(id) => {
                self.push_again(id);
                Ok(())
            }
            None => self.fail(Problem::NoMemo(index)),
        }
    }

    pub(super) fn double(&mut self) -> Result<()> {
        let id = self.top()?;
        self.push_again(id);
        Ok(())
    }

    #[inline]
    fn push_again(&mut self, id: Id) {
        if self.ordered && self.arena.leaf(id).is_none() {
            self.fetched.push(id);
        }
        self.stack.push(id);
    }
}

/// Whether this is UTF-8 but for lone surrogates.
fn is_text_of_python(mut bytes: &[u8]) -> bool {
    while let Err(error) = std::str::from_utf8(bytes) {
        match bytes.get(error.valid_up_to()..) {
            Some([0xed, 0xa0..=0xbf, 0x80..=0xbf, rest @ ..]) => bytes = rest,
            _ => return false,
        }
    }
    true
}

fn is_decimal(digits: &str) -> bool {
    let digits = digits.strip_prefix('-').unwrap_or(digits);
    !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
}
