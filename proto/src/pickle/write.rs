//! The opcodes of protocol 3, each appended to a buffer: what every pickler here is made of. Who
//! calls them sees to it that together they make a pickle.

use super::error::EncodeError;
use super::opcodes as op;

/// Python writes long lists and dicts in pieces of this many items.
pub const BATCH_ITEMS: usize = 1000;

/// Begins a pickle.
pub fn begin(out: &mut Vec<u8>) {
    out.extend([op::PROTO, 3]);
}

/// Ends a pickle.
pub fn stop(out: &mut Vec<u8>) {
    out.push(op::STOP);
}

/// `None`.
pub fn none(out: &mut Vec<u8>) {
    out.push(op::NONE);
}

/// `True` or `False`.
pub fn bool(out: &mut Vec<u8>, bool: bool) {
    out.push(if bool { op::NEWTRUE } else { op::NEWFALSE });
}

/// An integer of up to 128 bits.
pub fn int(out: &mut Vec<u8>, int: i128) {
    if let Ok(byte) = u8::try_from(int) {
        out.extend([op::BININT1, byte]);
    } else if let Ok(short) = u16::try_from(int) {
        out.push(op::BININT2);
        out.extend(short.to_le_bytes());
    } else if let Ok(int) = i32::try_from(int) {
        out.push(op::BININT);
        out.extend(int.to_le_bytes());
    } else {
        let sign_bits = if int < 0 {
            int.leading_ones()
        } else {
            int.leading_zeros()
        };
        // The bytes that the value bits and one sign bit fill: 1 to 16.
        let length = ((128 - sign_bits) / 8 + 1) as u8;
        out.extend([op::LONG1, length]);
        out.extend(int.to_le_bytes().iter().take(length.into()));
    }
}

/// An integer in little-endian two's complement, no byte longer than it must be.
///
/// # Errors
/// [`EncodeError::TooLong`] from 4 GiB on.
pub fn long(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), EncodeError> {
    sized(out, op::LONG1, op::LONG4, bytes)
}

/// A float.
pub fn float(out: &mut Vec<u8>, float: f64) {
    out.push(op::BINFLOAT);
    out.extend(float.to_be_bytes());
}

/// `bytes`.
///
/// # Errors
/// [`EncodeError::TooLong`] from 4 GiB on.
pub fn bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), EncodeError> {
    sized(out, op::SHORT_BINBYTES, op::BINBYTES, bytes)
}

/// What stands before the `length` bytes of `bytes`.
///
/// # Errors
/// [`EncodeError::TooLong`] from 4 GiB on.
pub fn begin_bytes(out: &mut Vec<u8>, length: usize) -> Result<(), EncodeError> {
    begin_sized(out, op::SHORT_BINBYTES, op::BINBYTES, length)
}

/// `str`, in UTF-8 (lone surrogates as if these were characters).
///
/// # Errors
/// [`EncodeError::TooLong`] from 4 GiB on.
pub fn text(out: &mut Vec<u8>, text: &[u8]) -> Result<(), EncodeError> {
    let length = length(text.len())?;
    out.push(op::BINUNICODE);
    out.extend(length);
    out.extend_from_slice(text);
    Ok(())
}

/// A class or function by its name.
///
/// # Errors
/// [`EncodeError::GlobalName`]: a newline in it.
pub fn global(out: &mut Vec<u8>, module: &str, name: &str) -> Result<(), EncodeError> {
    if module.contains('\n') || name.contains('\n') {
        return Err(EncodeError::GlobalName {
            module: module.to_owned(),
            name: name.to_owned(),
        });
    }
    out.push(op::GLOBAL);
    for part in [module, name] {
        out.extend_from_slice(part.as_bytes());
        out.push(b'\n');
    }
    Ok(())
}

/// A class or function by its code in the registry of `copyreg`.
pub fn extension(out: &mut Vec<u8>, code: u32) {
    if let Ok(code) = u8::try_from(code) {
        out.extend([op::EXT1, code]);
    } else if let Ok(code) = u16::try_from(code) {
        out.push(op::EXT2);
        out.extend(code.to_le_bytes());
    } else {
        out.push(op::EXT4);
        out.extend(code.to_le_bytes());
    }
}

/// Memoizes what was written last.
pub fn put(out: &mut Vec<u8>, index: u32) {
    indexed(out, op::BINPUT, op::LONG_BINPUT, index);
}

/// What was memoized.
pub fn get(out: &mut Vec<u8>, index: u32) {
    indexed(out, op::BINGET, op::LONG_BINGET, index);
}

/// Begins a tuple of so many items.
pub fn begin_tuple(out: &mut Vec<u8>, length: usize) {
    if length > 3 {
        out.push(op::MARK);
    }
}

/// Ends what [`begin_tuple`] began.
pub fn end_tuple(out: &mut Vec<u8>, length: usize) {
    out.push(match length {
        0 => op::EMPTY_TUPLE,
        1 => op::TUPLE1,
        2 => op::TUPLE2,
        3 => op::TUPLE3,
        _ => op::TUPLE,
    });
}

/// Takes back what [`begin_tuple`] and so many items put on the stack.
pub fn drop_tuple(out: &mut Vec<u8>, length: usize) {
    if length > 3 {
        out.push(op::POP_MARK);
    } else {
        out.extend(std::iter::repeat_n(op::POP, length));
    }
}

/// An empty list.
pub fn empty_list(out: &mut Vec<u8>) {
    out.push(op::EMPTY_LIST);
}

/// An empty dict.
pub fn empty_dict(out: &mut Vec<u8>) {
    out.push(op::EMPTY_DICT);
}

/// Begins items or pairs.
pub fn mark(out: &mut Vec<u8>) {
    out.push(op::MARK);
}

/// Appends the one item before.
pub fn append(out: &mut Vec<u8>) {
    out.push(op::APPEND);
}

/// Appends the items behind the mark.
pub fn appends(out: &mut Vec<u8>) {
    out.push(op::APPENDS);
}

/// Sets the one pair before.
pub fn set_item(out: &mut Vec<u8>) {
    out.push(op::SETITEM);
}

/// Sets the pairs behind the mark.
pub fn set_items(out: &mut Vec<u8>) {
    out.push(op::SETITEMS);
}

/// Calls: with `new` as `cls.__new__(cls, *args)`, else as `callable(*args)`.
pub fn call(out: &mut Vec<u8>, new: bool) {
    out.push(if new { op::NEWOBJ } else { op::REDUCE });
}

/// Gives the state before to the instance below it.
pub fn build(out: &mut Vec<u8>) {
    out.push(op::BUILD);
}

/// Makes a persistent reference of the id before.
pub fn persistent(out: &mut Vec<u8>) {
    out.push(op::BINPERSID);
}

/// Bytes behind their length: of one byte if it fits, or of four.
fn sized(out: &mut Vec<u8>, short: u8, long: u8, bytes: &[u8]) -> Result<(), EncodeError> {
    begin_sized(out, short, long, bytes.len())?;
    out.extend_from_slice(bytes);
    Ok(())
}

fn begin_sized(out: &mut Vec<u8>, short: u8, long: u8, size: usize) -> Result<(), EncodeError> {
    match u8::try_from(size) {
        Ok(size) => out.extend([short, size]),
        Err(_) => {
            let size = length(size)?;
            out.push(long);
            out.extend(size);
        }
    }
    Ok(())
}

fn indexed(out: &mut Vec<u8>, short: u8, long: u8, index: u32) {
    match u8::try_from(index) {
        Ok(index) => out.extend([short, index]),
        Err(_) => {
            out.push(long);
            out.extend(index.to_le_bytes());
        }
    }
}

/// The 4 bytes of a length.
fn length(size: usize) -> Result<[u8; 4], EncodeError> {
    match u32::try_from(size) {
        Ok(length) => Ok(length.to_le_bytes()),
        Err(_) => Err(EncodeError::TooLong(size)),
    }
}
