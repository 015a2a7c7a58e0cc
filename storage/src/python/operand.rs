//! What a value is to Python's comparisons: plain values, and instances of
//! the classes that every Python has and that are plain enough to be
//! compared here.
//!
//! | values | order | written by Python as |
//! |---|---|---|
//! | `None` (before all others, as a key or value itself), `bool`, `int`, `float`, `str`, `bytes`, `tuple`, `list`, `dict` | as in Python; of dicts none | opcodes of their own |
//! | `set`, `frozenset`, `bytearray` | subsets; bytes | `set([item, ...])`, `bytearray(b'..')` or of text |
//! | `Decimal`, `Fraction` | by exact value, also with `int` and `float` | `Decimal('1.5')`, `Fraction(1, 3)` or `Fraction('1/3')` |
//! | `complex` | none | `complex(1.0, 2.0)` |
//! | `UUID`, `IPv4Address`, `IPv6Address` | by number, with their own kind | NEWOBJ and `{'int': n}`; `IPv4Address(n)`, `IPv6Address('::1')` |
//! | `date`, `time`, `datetime`, `timedelta`, `timezone` | with their own kind; none of `timezone` | `datetime(b'..', timezone(timedelta(..)))` |
//! | `OrderedDict`, `defaultdict`, `deque` | as `list` for `deque` | calls and items |
//! | classes: of all these, of builtins, and those that are known besides (of BTrees) | none | by name |
//! | persistent references | none; equal by oid, or an error | persistent ids |
//!
//! Where there is no order, Python raises and the conflict stays; which
//! happens wherever BTrees in C compare two keys or values. Not known, as
//! on a server that can't import them: all classes of applications, thus also
//! members of their enumerations, named tuples, `DateTime`, zones of `pytz`
//! and `dateutil`. ZODB can't write zones of `zoneinfo`.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use zeo_proto::Value;
use zeo_proto::value::Object;

use super::classes::Classes;
use super::moments::Moment;
use super::numbers::Number;

/// A value as its comparisons see it.
#[derive(Debug)]
pub(crate) enum Operand<'v> {
    None,
    Number(Number<'v>),
    Complex(f64, f64),
    /// What a class of this name takes for a number.
    Tagged(&'v str, u128),
    Str(&'v str),
    Bytes {
        bytes: Cow<'v, [u8]>,
        mutable: bool,
    },
    Sequence(Sequence, &'v [Value<'v>]),
    Dict {
        pairs: &'v [(Value<'v>, Value<'v>)],
        ordered: bool,
    },
    Set {
        items: &'v [Value<'v>],
        frozen: bool,
    },
    Moment(Moment<'v>),
    /// A persistent id.
    Reference(&'v Value<'v>),
    /// A class itself.
    Class,
    /// What Python would have to import.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sequence {
    Tuple,
    List,
    Deque,
}

impl<'v> Operand<'v> {
    pub(crate) fn of(value: &'v Value<'v>, classes: &dyn Classes) -> Self {
        match value {
            Value::None => Operand::None,
            Value::Str(text) => Operand::Str(text),
            Value::Bytes(bytes) => Operand::Bytes {
                bytes: Cow::Borrowed(bytes),
                mutable: false,
            },
            Value::Tuple(items) => Operand::Sequence(Sequence::Tuple, items),
            Value::List(items) => Operand::Sequence(Sequence::List, items),
            Value::Dict(pairs) => Operand::Dict {
                pairs,
                ordered: false,
            },
            Value::Persistent(id) => Operand::Reference(id),
            Value::Global { module, name } if is_class(module, name, classes) => Operand::Class,
            Value::Global { .. } | Value::Extension(_) | Value::Surrogates(_) => Operand::Unknown,
            Value::Object(object) => instance(object, classes).unwrap_or(Operand::Unknown),
            Value::Bool(_) | Value::Int(_) | Value::Long(_) | Value::Float(_) => {
                Number::of(value).map_or(Operand::Unknown, Operand::Number)
            }
        }
    }

    /// Whether it can be a dict's key, as far as it is told without looking
    /// at its items.
    pub(crate) fn is_hashable(&self) -> bool {
        match self {
            Operand::Sequence(sequence, _) => *sequence == Sequence::Tuple,
            Operand::Bytes { mutable, .. } => !mutable,
            Operand::Set { frozen, .. } => *frozen,
            Operand::Number(number) => !number.is_signaling(),
            Operand::Dict { .. } | Operand::Reference(_) => false,
            _ => true,
        }
    }
}

/// The instance, if its class is known and it is in the usual form.
fn instance<'v>(object: &'v Object<'v>, classes: &dyn Classes) -> Option<Operand<'v>> {
    let (Value::Global { module, name }, Value::Tuple(args)) = (&object.callable, &object.args)
    else {
        return None;
    };
    let filled = !object.items.is_empty() || !object.pairs.is_empty();
    match (&**module, &**name, args.as_slice(), &object.state) {
        ("uuid", "UUID", [], Some(state)) if object.new && !filled => uuid(state),
        // As protocols before 2 write it.
        ("copyreg", "_reconstructor", [class, base, Value::None], Some(state))
            if !object.new
                && !filled
                && is(class, "uuid", "UUID")
                && is(base, "builtins", "object") =>
        {
            uuid(state)
        }
        (_, _, _, Some(_)) => None,
        _ if object.new => None,
        ("collections", name, args, None) => collection(name, args, object, classes),
        (module, name, args, None) if !filled => called(module, name, args),
        _ => None,
    }
}

fn is(value: &Value<'_>, its_module: &str, its_name: &str) -> bool {
    matches!(value, Value::Global { module, name } if module == its_module && name == its_name)
}

/// `UUID.__setstate__`.
fn uuid<'v>(state: &'v Value<'_>) -> Option<Operand<'v>> {
    let Value::Dict(pairs) = state else {
        return None;
    };
    if pairs.len() > 2 {
        return None;
    }
    let mut number = None;
    for (key, value) in pairs {
        match (key.as_str()?, value) {
            ("int", value) => number = Some(unsigned(value)?),
            ("is_safe", Value::None | Value::Int(-1 | 0)) => {}
            _ => return None,
        }
    }
    Some(Operand::Tagged("UUID", number?))
}

/// An int of up to 128 bits without a sign.
fn unsigned(value: &Value<'_>) -> Option<u128> {
    match value {
        Value::Int(int) => u128::try_from(*int).ok(),
        Value::Long(bytes) => match bytes.split_last_chunk() {
            Some((low, [0])) => Some(u128::from_le_bytes(low.try_into().ok()?)),
            _ => None,
        },
        _ => None,
    }
}

fn collection<'v>(
    name: &str,
    args: &'v [Value<'v>],
    object: &'v Object<'v>,
    classes: &dyn Classes,
) -> Option<Operand<'v>> {
    let (items, pairs) = (object.items.as_slice(), object.pairs.as_slice());
    let dict = |ordered| Operand::Dict { pairs, ordered };
    match (name, args) {
        ("OrderedDict", []) if items.is_empty() => Some(dict(true)),
        ("defaultdict", [] | [Value::None]) if items.is_empty() => Some(dict(false)),
        ("defaultdict", [Value::Global { module, name }])
            if items.is_empty() && is_class(module, name, classes) =>
        {
            Some(dict(false))
        }
        ("deque", []) if pairs.is_empty() => Some(Operand::Sequence(Sequence::Deque, items)),
        // More items than its maximum would push others out.
        ("deque", [Value::Tuple(none), Value::Int(most)])
            if none.is_empty() && pairs.is_empty() && (items.len() as i128) <= *most =>
        {
            Some(Operand::Sequence(Sequence::Deque, items))
        }
        _ => None,
    }
}

fn called<'v>(module: &str, name: &'v str, args: &'v [Value<'v>]) -> Option<Operand<'v>> {
    let bytes = |bytes| Operand::Bytes {
        bytes,
        mutable: true,
    };
    Some(match (module, name, args) {
        ("builtins", "set" | "frozenset", args) => Operand::Set {
            items: match args {
                [] => &[],
                [Value::List(items)] => items,
                _ => return None,
            },
            frozen: name == "frozenset",
        },
        ("builtins", "bytearray", []) => bytes(Cow::Borrowed(&[])),
        ("builtins", "bytearray", [Value::Bytes(text)]) => bytes(Cow::Borrowed(text)),
        ("builtins", "bytearray", [Value::Str(text), Value::Str(codec)]) if codec == "latin-1" => {
            let latin = text.chars().map(|char| u8::try_from(u32::from(char)).ok());
            bytes(Cow::Owned(latin.collect::<Option<_>>()?))
        }
        ("builtins", "complex", [Value::Float(real), Value::Float(imaginary)]) => {
            Operand::Complex(*real, *imaginary)
        }
        ("decimal", "Decimal", [Value::Str(text)]) => Operand::Number(Number::decimal(text)?),
        ("fractions", "Fraction", [Value::Str(text)]) => {
            Operand::Number(Number::fraction_of_text(text)?)
        }
        ("fractions", "Fraction", [a, b]) => Operand::Number(Number::fraction(a, b)?),
        ("ipaddress", "IPv4Address", [Value::Int(address @ 0..=0xffff_ffff)]) => {
            Operand::Tagged(name, address.unsigned_abs())
        }
        ("ipaddress", "IPv6Address", [Value::Str(text)]) => {
            Operand::Tagged(name, text.parse::<Ipv6Addr>().ok()?.into())
        }
        ("ipaddress", "IPv6Address", [address]) => Operand::Tagged(name, unsigned(address)?),
        ("datetime", class, args) => Operand::Moment(Moment::of(class, args)?),
        _ => return None,
    })
}

/// Whether a class is in every Python, or one of those that are known besides.
fn is_class(module: &str, name: &str, classes: &dyn Classes) -> bool {
    let names: &[&str] = match module {
        "builtins" => &[
            "bool",
            "bytearray",
            "bytes",
            "complex",
            "dict",
            "float",
            "frozenset",
            "int",
            "list",
            "object",
            "range",
            "set",
            "slice",
            "str",
            "tuple",
            "type",
        ],
        "collections" => &["Counter", "OrderedDict", "defaultdict", "deque"],
        "datetime" => &[
            "date",
            "datetime",
            "time",
            "timedelta",
            "timezone",
            "tzinfo",
        ],
        "decimal" => &["Decimal"],
        "fractions" => &["Fraction"],
        "ipaddress" => &["IPv4Address", "IPv6Address"],
        "uuid" => &["UUID"],
        _ => return classes.knows(module, name),
    };
    names.contains(&name)
}
