//! Instances of the few classes that every Python server has, and that are
//! plain enough to be compared here: sets, and what `datetime` has.

use zeo_proto::Value;
use zeo_proto::value::Object;

/// An instance of a known class.
#[derive(Debug, PartialEq)]
pub(super) enum Instance<'v> {
    Set {
        items: &'v [Value<'v>],
        frozen: bool,
    },
    /// Year, month, day.
    Date(&'v [u8]),
    /// Hour to microsecond, without a time zone.
    Time(Vec<u8>),
    /// Year to microsecond, and the offset of its time zone, if it has one.
    DateTime(Vec<u8>, Option<Delta>),
    Delta(Delta),
    /// A time zone of a fixed offset. Has no order.
    Zone(Delta),
}

/// Days, seconds of the day, microseconds of the second.
pub(super) type Delta = [i128; 3];

/// The instance, if its class is known and its arguments are the usual ones.
pub(super) fn known<'v>(object: &'v Object<'v>) -> Option<Instance<'v>> {
    let plain = object.state.is_none() && object.items.is_empty() && object.pairs.is_empty();
    let (Value::Global { module, name }, Value::Tuple(args), true, false) =
        (&object.callable, &object.args, plain, object.new)
    else {
        return None;
    };
    match (&**module, &**name, args.as_slice()) {
        ("builtins", "set" | "frozenset", args) => Some(Instance::Set {
            items: match args {
                [] => &[],
                [Value::List(items)] => items,
                _ => return None,
            },
            frozen: name == "frozenset",
        }),
        ("datetime", "date", [Value::Bytes(date)]) => match date[..] {
            [_, _, 1..=12, _] => Some(Instance::Date(date)),
            _ => None,
        },
        ("datetime", "time", [Value::Bytes(time)]) => {
            let time = without_fold(time, 0, 6)?;
            (*time.first()? < 24).then_some(Instance::Time(time))
        }
        ("datetime", "datetime", [Value::Bytes(time), zone @ ..]) => {
            let time = without_fold(time, 2, 10)?;
            let zone = match zone {
                [] => None,
                [Value::Object(zone)] => match known(zone)? {
                    Instance::Zone(offset) => Some(offset),
                    _ => return None,
                },
                _ => return None,
            };
            matches!(time.get(2), Some(1..=12)).then_some(Instance::DateTime(time, zone))
        }
        ("datetime", "timedelta", args) => delta(args).map(Instance::Delta),
        ("datetime", "timezone", [Value::Object(offset)]) => match known(offset)? {
            Instance::Delta(offset) => Some(Instance::Zone(offset)),
            _ => None,
        },
        _ => None,
    }
}

/// The bytes without the bit that tells the second of two equal hours of a
/// day, which comparisons leave out.
fn without_fold(bytes: &[u8], at: usize, length: usize) -> Option<Vec<u8>> {
    let mut bytes = (bytes.len() == length).then(|| bytes.to_vec())?;
    *bytes.get_mut(at)? &= 0x7f;
    Some(bytes)
}

fn delta(args: &[Value<'_>]) -> Option<Delta> {
    match *args {
        [Value::Int(days), Value::Int(seconds), Value::Int(micros)]
            if days.unsigned_abs() < 1_000_000_000
                && (0..86_400).contains(&seconds)
                && (0..1_000_000).contains(&micros) =>
        {
            Some([days, seconds, micros])
        }
        _ => None,
    }
}
