//! The three kinds of pickles in an index file: an int, a pair of byte
//! strings, and None. Written as Python does (protocol 3, no memo); read as
//! any Python may have written them.

use std::io::{self, Read, Write};

/// The longest byte string: a full bucket of 65,536 entries.
const BYTES_MAX: usize = 8 << 16;
/// The longest number in digits.
const LINE_MAX: usize = 32;

mod op {
    pub const PROTO: u8 = 0x80;
    pub const FRAME: u8 = 0x95;
    pub const STOP: u8 = b'.';
    pub const NONE: u8 = b'N';
    pub const BININT: u8 = b'J';
    pub const BININT1: u8 = b'K';
    pub const BININT2: u8 = b'M';
    pub const LONG1: u8 = 0x8a;
    pub const INT: u8 = b'I';
    pub const LONG: u8 = b'L';
    pub const BINBYTES: u8 = b'B';
    pub const SHORT_BINBYTES: u8 = b'C';
    pub const BINBYTES8: u8 = 0x8e;
    pub const BINSTRING: u8 = b'T';
    pub const SHORT_BINSTRING: u8 = b'U';
    pub const MARK: u8 = b'(';
    pub const TUPLE: u8 = b't';
    pub const TUPLE2: u8 = 0x86;
    pub const BINPUT: u8 = b'q';
    pub const LONG_BINPUT: u8 = b'r';
    pub const MEMOIZE: u8 = 0x94;
}

/// What a pickle holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    None,
    Int(u64),
    Pair(&'a [u8], &'a [u8]),
}

/// Reads pickles one after the other.
pub(crate) struct Pickles<R> {
    input: R,
    first: Vec<u8>,
    second: Vec<u8>,
}

/// What lies on the stack of the machine, which is never higher than two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stack {
    Empty,
    None,
    Int(u64),
    First,
    Both,
    Pair,
}

impl<R: Read> Pickles<R> {
    pub fn new(input: R) -> Self {
        let (first, second) = (Vec::new(), Vec::new());
        Self {
            input,
            first,
            second,
        }
    }

    /// The next pickle. Fails for any other shape, and at the end.
    pub fn next(&mut self) -> io::Result<Item<'_>> {
        let mut stack = Stack::Empty;
        loop {
            let [code] = self.take()?;
            stack = match (code, stack) {
                (op::PROTO | op::BINPUT, _) => {
                    self.take::<1>()?;
                    stack
                }
                (op::FRAME, _) => {
                    self.take::<8>()?;
                    stack
                }
                (op::LONG_BINPUT, _) => {
                    self.take::<4>()?;
                    stack
                }
                (op::MEMOIZE | op::MARK, _) => stack,
                (op::TUPLE | op::TUPLE2, Stack::Both) => Stack::Pair,
                (op::NONE, Stack::Empty) => Stack::None,
                (op::STOP, Stack::None) => return Ok(Item::None),
                (op::STOP, Stack::Int(number)) => return Ok(Item::Int(number)),
                (op::STOP, Stack::Pair) => return Ok(Item::Pair(&self.first, &self.second)),
                (code, Stack::Empty) if !is_bytes(code) => Stack::Int(self.int(code)?),
                (code, Stack::Empty) => {
                    self.bytes(code)?;
                    Stack::First
                }
                (code, Stack::First) => {
                    std::mem::swap(&mut self.first, &mut self.second);
                    self.bytes(code)?;
                    std::mem::swap(&mut self.first, &mut self.second);
                    Stack::Both
                }
                (code, _) => return Err(unexpected(code)),
            };
        }
    }

    /// What stands behind the pickles that were read.
    pub fn into_input(self) -> R {
        self.input
    }

    fn int(&mut self, code: u8) -> io::Result<u64> {
        match code {
            op::BININT1 => self.take().map(|[number]| u64::from(number)),
            op::BININT2 => self.take().map(u16::from_le_bytes).map(u64::from),
            op::BININT => {
                let number = i32::from_le_bytes(self.take()?);
                u64::try_from(number).map_err(|_| invalid("a negative position"))
            }
            op::LONG1 => self.long(),
            op::INT | op::LONG => self.digits(),
            code => Err(unexpected(code)),
        }
    }

    /// A number in little-endian two's complement.
    fn long(&mut self) -> io::Result<u64> {
        let [length] = self.take()?;
        let mut number = [0; 16];
        let bytes = number
            .get_mut(..usize::from(length))
            .ok_or_else(|| invalid("a number is too large"))?;
        self.input.read_exact(bytes)?;
        if bytes.last().is_some_and(|&last| last >= 0x80) {
            return Err(invalid("a negative position"));
        }
        u64::try_from(u128::from_le_bytes(number)).map_err(|_| invalid("a number is too large"))
    }

    /// A number in decimal on a line, with or without an `L` behind it.
    fn digits(&mut self) -> io::Result<u64> {
        let mut line = String::new();
        while !line.ends_with('\n') {
            let [byte] = self.take()?;
            line.push(char::from(byte));
            if line.len() > LINE_MAX {
                return Err(invalid("a number is too large"));
            }
        }
        let digits = line.trim_end_matches('\n').trim_end_matches('L');
        digits.parse().map_err(|_| invalid("a number is malformed"))
    }

    /// Reads a byte string into `first`.
    fn bytes(&mut self, code: u8) -> io::Result<()> {
        let length = match code {
            op::SHORT_BINBYTES | op::SHORT_BINSTRING => u64::from(u8::from_le_bytes(self.take()?)),
            op::BINBYTES | op::BINSTRING => u64::from(u32::from_le_bytes(self.take()?)),
            op::BINBYTES8 => u64::from_le_bytes(self.take()?),
            code => return Err(unexpected(code)),
        };
        let length = usize::try_from(length)
            .ok()
            .filter(|&length| length <= BYTES_MAX)
            .ok_or_else(|| invalid("a bucket is too large"))?;
        self.first.resize(length, 0);
        self.input.read_exact(&mut self.first)
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

fn is_bytes(code: u8) -> bool {
    matches!(
        code,
        op::BINBYTES | op::SHORT_BINBYTES | op::BINBYTES8 | op::BINSTRING | op::SHORT_BINSTRING
    )
}

fn unexpected(code: u8) -> io::Error {
    invalid(&format!("its format is unknown (opcode {code:#04x})"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

const START: [u8; 2] = [op::PROTO, 3];

/// Writes the pickle of a number.
pub(crate) fn write_int(out: &mut impl Write, number: u64) -> io::Result<()> {
    out.write_all(&START)?;
    let bytes = number.to_le_bytes();
    if let Ok(byte) = u8::try_from(number) {
        out.write_all(&[op::BININT1, byte])?;
    } else if let Ok(short) = u16::try_from(number) {
        out.write_all(&[op::BININT2])?;
        out.write_all(&short.to_le_bytes())?;
    } else if let Ok(int) = i32::try_from(number) {
        out.write_all(&[op::BININT])?;
        out.write_all(&int.to_le_bytes())?;
    } else {
        // One bit more than the number has, for the sign.
        let length = (u64::BITS - number.leading_zeros()) as usize / 8 + 1;
        let mut signed = [0; 9];
        signed[..8].copy_from_slice(&bytes);
        out.write_all(&[op::LONG1, length as u8])?;
        out.write_all(&signed[..length])?;
    }
    out.write_all(&[op::STOP])
}

/// Writes the pickle of a pair of byte strings, the second one in parts.
pub(crate) fn write_pair(out: &mut impl Write, first: &[u8], second: [&[u8]; 2]) -> io::Result<()> {
    out.write_all(&START)?;
    write_bytes(out, &[first])?;
    write_bytes(out, &second)?;
    out.write_all(&[op::TUPLE2, op::STOP])
}

fn write_bytes(out: &mut impl Write, parts: &[&[u8]]) -> io::Result<()> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    if let Ok(length) = u8::try_from(length) {
        out.write_all(&[op::SHORT_BINBYTES, length])?;
    } else {
        let length = u32::try_from(length).map_err(io::Error::other)?;
        out.write_all(&[op::BINBYTES])?;
        out.write_all(&length.to_le_bytes())?;
    }
    parts.iter().try_for_each(|part| out.write_all(part))
}

/// Writes the pickle of None.
pub(crate) fn write_none(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&START)?;
    out.write_all(&[op::NONE, op::STOP])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by Python: `zodbpickle.pickle.dumps(number, 3)`, in hex.
    const INTS: &[(u64, &str)] = &[
        (4, "80034b042e"),
        (255, "80034bff2e"),
        (256, "80034d00012e"),
        (65_535, "80034dffff2e"),
        (65_536, "80034a000001002e"),
        ((1 << 31) - 1, "80034affffff7f2e"),
        (1 << 31, "80038a0500000080002e"),
        ((1 << 39) - 1, "80038a05ffffffff7f2e"),
        (1 << 39, "80038a060000000080002e"),
        ((1 << 47) - 1, "80038a06ffffffffff7f2e"),
        (1 << 47, "80038a07000000000080002e"),
    ];

    fn read(pickle: &[u8]) -> io::Result<String> {
        let item = Pickles::new(pickle)
            .next()
            .map(|item| format!("{item:?}"))?;
        Ok(item)
    }

    #[test]
    fn ints_as_python_writes_them() {
        for &(number, hex) in INTS {
            let mut out = Vec::new();
            write_int(&mut out, number).unwrap();
            assert_eq!(hex::encode(&out), hex);
            assert_eq!(read(&out).unwrap(), format!("Int({number})"));
        }
        let mut out = Vec::new();
        write_int(&mut out, u64::MAX).unwrap();
        assert_eq!(read(&out).unwrap(), format!("Int({})", u64::MAX));
    }

    #[test]
    fn pickles_of_other_protocols() {
        let pair = format!("{:?}", Item::Pair(b"abcdef", b"stuvwxyz"));
        for pickle in [
            // Protocol 4 and 5, memo and all.
            &b"\x80\x04\x95\x1b\0\0\0\0\0\0\0C\x06abcdef\x94C\x08stuvwxyz\x94\x86\x94."[..],
            b"\x80\x05\x8e\x06\0\0\0\0\0\0\0abcdefB\x08\0\0\0stuvwxyz\x86.",
            // Python 2, protocols 1 and 2.
            b"(U\x06abcdefq\0T\x08\0\0\0stuvwxyzr\0\0\0\0tq\x01.",
            b"\x80\x02U\x06abcdefU\x08stuvwxyz\x86.",
        ] {
            assert_eq!(read(pickle).unwrap(), pair, "{pickle:?}");
        }
        assert_eq!(read(b"I5000000000\n.").unwrap(), "Int(5000000000)");
        assert_eq!(read(b"L5000000000L\n.").unwrap(), "Int(5000000000)");
        assert_eq!(read(b"N.").unwrap(), "None");
    }

    #[test]
    fn other_shapes_are_errors() {
        for pickle in [
            &b""[..],
            b".",
            b"\x80\x03}.",
            b"NN.",
            b"K\x01K\x02.",
            b"C\x01a.",
            b"C\x01aC\x01bC\x01c\x86.",
            b"\x86.",
            b"J\xff\xff\xff\xff.",
            b"\x8a\x01\xff.",
            b"\x8a\xff",
            b"\x8a\x0a\0\0\0\0\0\0\0\0\0\x01.",
            b"Ione\n.",
            b"I11111111111111111111111111111111111111111\n.",
            b"B\xff\xff\xff\xffabc",
            b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffabc",
        ] {
            assert!(read(pickle).is_err(), "{pickle:?}");
        }
    }
}
