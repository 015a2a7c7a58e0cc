//! Numbers of all of Python's types that are compared with each other by
//! their exact values: int, float, `Decimal` and `Fraction`.

use std::cmp::Ordering;

use num_bigint::{BigInt, BigUint, Sign};
use num_traits::ToPrimitive;
use zeo_proto::Value;

/// A number. A bool is an int.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Number<'v> {
    Int(Int<'v>),
    Float(f64),
    Decimal(Decimal<'v>),
    /// Numerator and denominator, which is not 0.
    Fraction(Int<'v>, Int<'v>),
}

/// An int that has not been read yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Int<'v> {
    Short(i128),
    /// As in [`Value::Long`].
    Long(&'v [u8]),
    /// Decimal digits, perhaps behind a minus.
    Text(&'v str),
}

/// A `decimal.Decimal` as its text tells it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decimal<'v> {
    Finite {
        negative: bool,
        /// The digits before and behind the point.
        digits: [&'v str; 2],
        /// The power of ten of the last digit.
        exponent: i64,
    },
    Infinite {
        negative: bool,
    },
    Nan {
        signaling: bool,
    },
}

/// The exponents that C's decimal takes where integers have 64 bits.
const MAX_EXPONENT: i64 = 999_999_999_999_999_999;
const MIN_EXPONENT: i64 = -MAX_EXPONENT - (MAX_EXPONENT - 1);

/// Python reads no longer integers from text, unless told so.
const MAX_DIGITS: usize = 4300;

impl<'v> Number<'v> {
    /// The int, float or bool.
    pub(crate) fn of(value: &'v Value<'_>) -> Option<Self> {
        match value {
            Value::Float(float) => Some(Number::Float(*float)),
            _ => Int::of(value).map(Number::Int),
        }
    }

    /// `Decimal(text)`, for text as `str(Decimal)` gives it.
    pub(crate) fn decimal(text: &'v str) -> Option<Self> {
        let (negative, text) = signed(text);
        let nan = |payload, signaling| {
            all_digits(payload).then_some(Number::Decimal(Decimal::Nan { signaling }))
        };
        if text == "Infinity" {
            return Some(Number::Decimal(Decimal::Infinite { negative }));
        } else if let Some(payload) = text.strip_prefix("NaN") {
            return nan(payload, false);
        } else if let Some(payload) = text.strip_prefix("sNaN") {
            return nan(payload, true);
        }
        let (mantissa, exponent) = match text.split_once('E') {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exponent = exponent.checked_sub(part.len().try_into().ok()?)?;
        let digits = whole.len().checked_add(part.len())?;
        let leading = exponent
            .checked_add(digits.try_into().ok()?)?
            .checked_sub(1)?;
        let fits = exponent >= MIN_EXPONENT && leading <= MAX_EXPONENT;
        (fits && digits > 0 && all_digits(whole) && all_digits(part)).then_some(Number::Decimal(
            Decimal::Finite {
                negative,
                digits: [whole, part],
                exponent,
            },
        ))
    }

    /// `Fraction(numerator, denominator)`, as Python 3 writes it.
    pub(crate) fn fraction(numerator: &'v Value<'_>, denominator: &'v Value<'_>) -> Option<Self> {
        let (numerator, denominator) = (Int::of(numerator)?, Int::of(denominator)?);
        let is_zero = matches!(denominator, Int::Short(0));
        (!is_zero).then_some(Number::Fraction(numerator, denominator))
    }

    /// `Fraction(text)`, for text as `str(Fraction)` gives it: how Python 2
    /// writes it.
    pub(crate) fn fraction_of_text(text: &'v str) -> Option<Self> {
        let (numerator, denominator) = text.split_once('/').unwrap_or((text, "1"));
        let is_int = |digits: &str| (1..=MAX_DIGITS).contains(&digits.len()) && all_digits(digits);
        let is_zero = denominator.bytes().all(|digit| digit == b'0');
        (is_int(signed(numerator).1) && is_int(denominator) && !is_zero).then_some(
            Number::Fraction(Int::Text(numerator), Int::Text(denominator)),
        )
    }

    pub(crate) fn is_int(&self) -> bool {
        matches!(self, Number::Int(_))
    }

    /// Whether `<` raises where this is one of both sides and NaN another.
    pub(crate) fn is_decimal(&self) -> bool {
        matches!(self, Number::Decimal(_))
    }

    /// Whether any comparison raises.
    pub(crate) fn is_signaling(&self) -> bool {
        matches!(self, Number::Decimal(Decimal::Nan { signaling: true }))
    }

    /// Whether it is no number, as it were.
    pub(crate) fn is_nan(&self) -> bool {
        match self {
            Number::Float(float) => float.is_nan(),
            _ => matches!(self, Number::Decimal(Decimal::Nan { .. })),
        }
    }

    /// The order, without rounding; `None` when one is NaN. Takes time in
    /// proportion to the square of both [`words`](Self::words), but for ints.
    pub(crate) fn order(&self, other: &Number<'_>) -> Option<Ordering> {
        match (self, other) {
            (Number::Int(Int::Short(a)), Number::Int(Int::Short(b))) => Some(a.cmp(b)),
            (Number::Float(a), Number::Float(b)) => a.partial_cmp(b),
            _ => match (self.exact(), other.exact()) {
                (Ok(a), Ok(b)) => Some(a.order(&b)),
                // Infinity and NaN: of the same order as floats.
                (a, b) => a.err().unwrap_or(0.0).partial_cmp(&b.err().unwrap_or(0.0)),
            },
        }
    }

    /// How many words of 64 bits it fills, about.
    pub(crate) fn words(&self) -> usize {
        let words = match self {
            Number::Int(int) => int.words(),
            Number::Float(_) => 16,
            Number::Decimal(Decimal::Finite { digits, .. }) => {
                digits.iter().map(|digits| digits.len() / 19).sum()
            }
            Number::Decimal(_) => 0,
            Number::Fraction(a, b) => a.words().saturating_add(b.words()),
        };
        words.saturating_add(1)
    }

    /// The value; as an error the float that stands for it if it has none.
    fn exact(&self) -> Result<Exact, f64> {
        let whole = |numerator, exponent| Exact {
            numerator,
            exponent,
            denominator: 1.into(),
        };
        Ok(match self {
            Number::Int(int) => whole(int.big(), 0),
            Number::Float(float) if !float.is_finite() => return Err(*float),
            Number::Float(float) => Exact::of_float(*float),
            Number::Decimal(Decimal::Nan { .. }) => return Err(f64::NAN),
            Number::Decimal(Decimal::Infinite { negative: true }) => return Err(f64::NEG_INFINITY),
            Number::Decimal(Decimal::Infinite { negative: false }) => return Err(f64::INFINITY),
            Number::Decimal(Decimal::Finite {
                negative,
                digits,
                exponent,
            }) => {
                let digits = BigUint::parse_bytes(digits.concat().as_bytes(), 10);
                let sign = if *negative { Sign::Minus } else { Sign::Plus };
                let digits = BigInt::from_biguint(sign, digits.unwrap_or_default());
                whole(digits, *exponent)
            }
            Number::Fraction(numerator, denominator) => {
                let (numerator, denominator) = (numerator.big(), denominator.big());
                let sign = BigInt::from(if denominator.sign() == Sign::Minus {
                    -1
                } else {
                    1
                });
                Exact {
                    numerator: numerator * &sign,
                    exponent: 0,
                    denominator: denominator * sign,
                }
            }
        })
    }
}

impl<'v> Int<'v> {
    /// The int or bool.
    fn of(value: &'v Value<'_>) -> Option<Self> {
        match value {
            Value::Int(int) => Some(Int::Short(*int)),
            Value::Bool(bool) => Some(Int::Short((*bool).into())),
            Value::Long(bytes) => Some(Int::Long(bytes)),
            _ => None,
        }
    }

    fn words(&self) -> usize {
        match self {
            Int::Short(_) => 1,
            Int::Long(bytes) => bytes.len() / 8,
            Int::Text(digits) => digits.len() / 19,
        }
    }

    pub(crate) fn big(&self) -> BigInt {
        match *self {
            Int::Short(int) => int.into(),
            Int::Long(bytes) => BigInt::from_signed_bytes_le(bytes),
            Int::Text(digits) => digits.parse().unwrap_or_default(),
        }
    }
}

/// numerator * 10**exponent / denominator, which is positive.
struct Exact {
    numerator: BigInt,
    exponent: i64,
    denominator: BigInt,
}

impl Exact {
    fn of_float(float: f64) -> Self {
        let bits = float.to_bits();
        let fraction = bits & ((1 << 52) - 1);
        let (significand, power) = match (bits >> 52) & 0x7ff {
            0 => (fraction, -1074),
            exponent => (fraction | 1 << 52, exponent as i64 - 1075),
        };
        let sign = if float < 0.0 { Sign::Minus } else { Sign::Plus };
        let significand = BigInt::from_biguint(sign, significand.into());
        Exact {
            numerator: significand << power.max(0),
            exponent: 0,
            denominator: BigInt::from(1) << (-power).max(0),
        }
    }

    fn order(&self, other: &Exact) -> Ordering {
        let left = &self.numerator * &other.denominator;
        let right = &other.numerator * &self.denominator;
        let sign = left.sign();
        if sign != right.sign() || sign == Sign::NoSign {
            return sign.cmp(&right.sign());
        }
        let (left, right) = (left.magnitude(), right.magnitude());
        let tens = self.exponent.saturating_sub(other.exponent);
        let order = if tens >= 0 {
            order_of_scaled(left, tens.unsigned_abs(), right)
        } else {
            order_of_scaled(right, tens.unsigned_abs(), left).reverse()
        };
        match sign {
            Sign::Minus => order.reverse(),
            _ => order,
        }
    }
}

/// The order of a * 10**tens and b; a is not 0. Writes out no power that is
/// much longer than b.
fn order_of_scaled(a: &BigUint, tens: u64, b: &BigUint) -> Ordering {
    // 10**tens has more than 3 * tens bits.
    match u32::try_from(tens) {
        Ok(short) if tens.saturating_mul(3) <= b.bits() => {
            (a * BigUint::from(10u8).pow(short)).cmp(b)
        }
        _ => Ordering::Greater,
    }
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn signed(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    }
}

/// The int (or bool), of any length.
pub(crate) fn big(value: &Value<'_>) -> Option<BigInt> {
    Int::of(value).map(|int| int.big())
}

/// The value of an int.
pub(crate) fn value(int: &BigInt) -> Value<'static> {
    match int.to_i128() {
        Some(int) => Value::Int(int),
        None => Value::Long(int.to_signed_bytes_le().into()),
    }
}

/// `float(int)`; `None` where it is too large for that.
pub(crate) fn float(int: &BigInt) -> Option<f64> {
    int.to_f64().filter(|float| float.is_finite())
}

#[cfg(test)]
mod tests;
