//! Formats of log lines, in the four styles of ZConfig's log handlers: `classic`
//! (`%(message)s`), `format` (`{message}`), `template` and `safe-template` (`$message`).
//!
//! A format is read once, when the configuration is, so that a wrong one is refused there.

mod classic;
mod dollar;
mod field;
mod json;
mod piece;
mod spec;
mod structured;

use jiff::Timestamp;

use super::dates::DateFormat;
use super::record::LogRecord;
use field::Field;
use piece::Piece;
use spec::Spec;

/// How a format names its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `%(message)s`
    Classic,
    /// `{message}`
    Format,
    /// `$message` or `${message}`
    Template,
    /// As `Template`, but what it does not know is left as it stands.
    SafeTemplate,
}

impl Style {
    /// The style that ZConfig calls `text`.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn named(text: &str) -> Result<Style, String> {
        match text.to_lowercase().as_str() {
            "classic" => Ok(Style::Classic),
            "format" => Ok(Style::Format),
            "template" => Ok(Style::Template),
            "safe-template" => Ok(Style::SafeTemplate),
            _ => Err(format!(
                "{text:?} is not a style; expected classic, format, template or safe-template"
            )),
        }
    }
}

/// A format, ready to use.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Layout);

#[derive(Clone, Debug, PartialEq)]
enum Layout {
    Pieces(Vec<Piece>),
    Json,
}

impl Template {
    /// Reads the format `text`; an empty one is the message alone. `\n`, `\t`, `\b`, `\f` and
    /// `\r` stand for control characters. With `any_field`, fields that no record has are let
    /// through.
    ///
    /// # Errors
    /// A sentence that says what is wrong in the format.
    pub fn parse(style: Style, text: &str, any_field: bool) -> Result<Template, String> {
        let text = with_control_characters(text);
        if text.is_empty() {
            let pieces = vec![Piece::Field(Field::Message, Spec::default())];
            return Ok(Template(Layout::Pieces(pieces)));
        }
        let pieces = match style {
            Style::Classic => classic::pieces(&text),
            Style::Format => structured::pieces(&text),
            Style::Template => dollar::pieces(&text, false),
            Style::SafeTemplate => dollar::pieces(&text, true),
        }?;
        let mut fields = 0;
        for piece in &pieces {
            match piece {
                Piece::Text(_) => continue,
                Piece::Field(field, spec) => spec.check(*field)?,
                Piece::Unknown(_) if any_field || style == Style::SafeTemplate => {}
                Piece::Unknown(written) => return Err(format!("unknown field {written}")),
            }
            fields += 1;
        }
        if fields == 0 && style != Style::SafeTemplate {
            return Err(format!("the format {text:?} has no field"));
        }
        Ok(Template(Layout::Pieces(pieces)))
    }

    /// A JSON object in place of a format: `time`, `level`, `logger`, `message`, `pid`, `client` if
    /// there is one, and the other key-value pairs under their own names.
    pub fn json() -> Template {
        Template(Layout::Json)
    }

    /// Whether a date stands in it.
    pub fn uses_time(&self) -> bool {
        let Layout::Pieces(pieces) = &self.0 else {
            return false;
        };
        let mut pieces = pieces.iter();
        pieces.any(|piece| matches!(piece, Piece::Field(Field::Time, _)))
    }

    /// The line for `record`, without a newline at its end. `start` is when the log was
    /// started, for `relativeCreated`.
    pub fn format(&self, record: &LogRecord, dates: &DateFormat, start: Timestamp) -> String {
        let pieces = match &self.0 {
            Layout::Pieces(pieces) => pieces,
            Layout::Json => return json::line(record),
        };
        let mut line = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) | Piece::Unknown(text) => line.push_str(text),
                Piece::Field(field, spec) => {
                    spec.push(&mut line, field.value(record, dates, start));
                }
            }
        }
        line
    }
}

fn with_control_characters(text: &str) -> String {
    text.replace(r"\n", "\n")
        .replace(r"\t", "\t")
        .replace(r"\b", "\u{8}")
        .replace(r"\f", "\u{c}")
        .replace(r"\r", "\r")
}

#[cfg(test)]
mod tests;
