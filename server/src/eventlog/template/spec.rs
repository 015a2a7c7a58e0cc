//! How a field is written: padded, cut, as which kind of number.

use super::field::{Field, Value};

/// A conversion with its width and precision, as both `%` and `{}` formats have them.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    pub conversion: Conversion,
    /// Where the text stands in its width; by default text left and numbers right, in `{}`.
    pub align: Align,
    pub fill: char,
    /// What stands before a number that is not negative.
    pub sign: &'static str,
    /// Whether `0x` or `0o` stands before such a number.
    pub prefix: bool,
    /// In characters, at most [`super::piece::MAX_WIDTH_CHARS`].
    pub width: usize,
    /// The digits of a fraction, or the characters that text is cut to.
    pub precision: Option<usize>,
}

/// What a field's value is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// As it is: `%s`, or nothing in `{}`.
    Text,
    /// With quotes: `%r`.
    Quoted,
    /// `%d`
    Integer,
    /// `%x`
    Hex,
    /// `%X`
    UpperHex,
    /// `%o`
    Octal,
    /// `%f`
    Float,
}

/// Where padding goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
    Center,
    /// Between the sign and the digits.
    AfterSign,
}

impl Default for Spec {
    fn default() -> Spec {
        Spec {
            conversion: Conversion::Text,
            align: Align::Right,
            fill: ' ',
            sign: "",
            prefix: false,
            width: 0,
            precision: None,
        }
    }
}

impl Conversion {
    /// The conversion of a `%` or `{}` format's last letter.
    ///
    /// # Errors
    /// A letter that is none, or one that no sensible log needs.
    pub fn named(letter: char) -> Result<Conversion, String> {
        match letter {
            's' => Ok(Conversion::Text),
            'r' | 'a' => Ok(Conversion::Quoted),
            'd' | 'i' | 'u' => Ok(Conversion::Integer),
            'x' => Ok(Conversion::Hex),
            'X' => Ok(Conversion::UpperHex),
            'o' => Ok(Conversion::Octal),
            'f' | 'F' => Ok(Conversion::Float),
            _ => Err(format!(
                "unknown conversion {letter:?}; expected s, r, d, x, X, o or f"
            )),
        }
    }

    fn is_numeric(self) -> bool {
        !matches!(self, Conversion::Text | Conversion::Quoted)
    }
}

impl Spec {
    /// Checks that `field` can be written so.
    ///
    /// # Errors
    /// A text field is to be written as a number.
    pub fn check(&self, field: Field) -> Result<(), String> {
        if self.conversion.is_numeric() && field.is_text() {
            return Err(format!(
                "the field {field:?} is text and can't be formatted as a number"
            ));
        }
        Ok(())
    }

    /// Writes `value` at the end of `line`.
    pub fn push(&self, line: &mut String, value: Value) {
        let (sign, body) = self.parts(value);
        let length = sign.chars().count().saturating_add(body.chars().count());
        let padding = self.width.saturating_sub(length);
        let before = match self.align {
            Align::Left | Align::AfterSign => 0,
            Align::Right => padding,
            Align::Center => padding / 2,
        };
        let after_sign = if self.align == Align::AfterSign {
            padding
        } else {
            0
        };
        pad(line, self.fill, before);
        line.push_str(&sign);
        pad(line, self.fill, after_sign);
        line.push_str(&body);
        pad(
            line,
            self.fill,
            padding.saturating_sub(before).saturating_sub(after_sign),
        );
    }

    /// The sign (with a prefix) and the rest.
    fn parts(&self, value: Value) -> (String, String) {
        let integer = match value {
            Value::Integer(number) => number,
            // Python cuts the fraction off, too.
            Value::Float(number) => number as i64,
            Value::Text(_) | Value::Object(_) => 0,
        };
        let float = match value {
            Value::Integer(number) => number as f64,
            Value::Float(number) => number,
            Value::Text(_) | Value::Object(_) => 0.0,
        };
        let digits = integer.unsigned_abs();
        let sign = if integer < 0 || float < 0.0 {
            "-"
        } else {
            self.sign
        };
        let signed = |prefix: &str, digits: String| {
            let prefix = if self.prefix { prefix } else { "" };
            let zeros = self.precision.unwrap_or(0);
            (format!("{sign}{prefix}"), format!("{digits:0>zeros$}"))
        };
        match (self.conversion, value) {
            (Conversion::Text, Value::Text(text)) => (String::new(), self.cut(text)),
            (Conversion::Quoted, Value::Text(text)) => (String::new(), self.cut(quoted(&text))),
            (Conversion::Text | Conversion::Quoted, Value::Object(text)) => {
                (String::new(), self.cut(text.to_owned()))
            }
            (Conversion::Text | Conversion::Quoted, Value::Integer(_)) => {
                (sign.to_owned(), self.cut(digits.to_string()))
            }
            (Conversion::Text | Conversion::Quoted, Value::Float(_)) => {
                (sign.to_owned(), self.cut(format!("{:?}", float.abs())))
            }
            (Conversion::Integer, _) => signed("", digits.to_string()),
            (Conversion::Hex, _) => signed("0x", format!("{digits:x}")),
            (Conversion::UpperHex, _) => signed("0X", format!("{digits:X}")),
            (Conversion::Octal, _) => signed("0o", format!("{digits:o}")),
            (Conversion::Float, _) => {
                let precision = self.precision.unwrap_or(6);
                (sign.to_owned(), format!("{:.precision$}", float.abs()))
            }
        }
    }

    fn cut(&self, text: String) -> String {
        match self.precision {
            Some(length) => text.chars().take(length).collect(),
            None => text,
        }
    }
}

fn pad(line: &mut String, fill: char, count: usize) {
    line.extend(std::iter::repeat_n(fill, count));
}

/// `text` between quotes, with backslashes before what would not show.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\");
    let text = text
        .replace('\n', "\\n")
        .replace('\r', "\\r")
        .replace('\t', "\\t");
    if text.contains('\'') && !text.contains('"') {
        return format!("\"{text}\"");
    }
    format!("'{}'", text.replace('\'', "\\'"))
}
