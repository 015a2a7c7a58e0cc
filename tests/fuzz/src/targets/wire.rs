//! What a peer sends.

use zeo_proto::framing::FrameBuffer;
use zeo_proto::handshake;
use zeo_proto::marshal::Encoding;
use zeo_proto::msgpack;
use zeo_proto::pickle::{self, Memo, Policy, Unpickler};

use super::{MIB, SLACK, Target};
use crate::corpus;

const POLICIES: [&Policy; 3] = [&Policy::REQUEST, &Policy::REPLY, &Policy::FILE];

pub const FRAMES: Target = Target {
    name: "frames",
    corpus: || {
        let framed = |payload: &[u8]| {
            let mut frame = Vec::new();
            zeo_proto::framing::write_frame(&mut frame, payload);
            frame
        };
        let mut streams: Vec<Vec<u8>> = corpus::calls(Encoding::Pickle)
            .iter()
            .map(|call| framed(call))
            .collect();
        streams.push(streams.concat());
        streams
    },
    prepare: || Box::new(frames),
    slack: 4 * MIB,
};

/// The bytes arrive in pieces, whose sizes the bytes themselves choose.
fn frames(input: &[u8]) -> Result<(), String> {
    let mut buffer = FrameBuffer::new(1 << 20);
    let (mut rest, mut taken) = (input, 0);
    while let Some(&step) = rest.first() {
        let count = buffer
            .fill(|space| {
                let count = space.len().min(rest.len()).min(1 + usize::from(step));
                if let (Some(into), Some(from)) = (space.get_mut(..count), rest.get(..count)) {
                    into.copy_from_slice(from);
                }
                Ok(count)
            })
            .map_err(|why| why.to_string())?;
        rest = rest.get(count..).unwrap_or_default();
        loop {
            match buffer.frame() {
                Err(_) => return Ok(()),
                Ok(None) => break,
                Ok(Some(frame)) => {
                    let length = frame.len();
                    taken += 4 + length;
                    buffer.consume(length);
                }
            }
        }
    }
    (taken <= input.len())
        .then_some(())
        .ok_or_else(|| "more came out than went in".to_owned())
}

pub const HANDSHAKE: Target = Target {
    name: "handshake",
    corpus: || {
        [&b"Z5"[..], b"M5", b"ruok", b"Z4"]
            .map(<[u8]>::to_vec)
            .to_vec()
    },
    prepare: || {
        Box::new(|input| {
            let known = matches!(input, b"Z5" | b"M5" | b"ruok");
            (handshake::answer(input).is_some() == known)
                .then_some(())
                .ok_or_else(|| "an answer that is none".to_owned())
        })
    },
    slack: MIB,
};

pub const PICKLE: Target = Target {
    name: "pickle",
    corpus: corpus::pickles,
    prepare: || Box::new(pickles),
    slack: SLACK,
};

fn pickles(input: &[u8]) -> Result<(), String> {
    for policy in POLICIES {
        if let Ok((value, length)) = pickle::decode_prefix(input, policy) {
            if length > input.len() {
                return Err(format!("a pickle of {length} bytes"));
            }
            encodes(&value)?;
        }
        let _ = pickle::decode(input, policy).map(zeo_proto::Value::into_owned);
    }
    let mut unpickler = Unpickler::new(input, &Policy::FILE);
    let mut at = 0;
    while unpickler.persistent_ids().is_ok() && unpickler.position() > at {
        at = unpickler.position();
    }
    Ok(())
}

/// What was decoded can be encoded, and decoded again.
fn encodes(value: &zeo_proto::Value<'_>) -> Result<(), String> {
    for memo in [Memo::Fast, Memo::Memoizing] {
        let mut again = Vec::new();
        if pickle::encode(value, &mut again, memo).is_ok() {
            let policy = Policy {
                max_depth: 1000,
                max_values_per_byte: 1000,
                ..Policy::FILE
            };
            pickle::decode(&again, &policy).map_err(|why| format!("not read again: {why}"))?;
        }
    }
    Ok(())
}

pub const MSGPACK: Target = Target {
    name: "msgpack",
    corpus: corpus::msgpacks,
    prepare: || {
        Box::new(|input| {
            for policy in POLICIES {
                if let Ok(value) = msgpack::decode(input, policy) {
                    let mut again = Vec::new();
                    msgpack::encode(&value, &mut again).map_err(|why| why.to_string())?;
                    msgpack::decode(&again, policy).map_err(|why| why.to_string())?;
                }
            }
            Ok(())
        })
    },
    slack: SLACK,
};
