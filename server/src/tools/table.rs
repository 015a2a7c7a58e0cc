//! A table, for people or, with `--json`, for programs.

use std::io::{self, Write};

use serde_json::{Map, Value};

/// How the cells of a column stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// No column is filled up to more than this: what is longer sticks out.
const WIDEST: usize = 120;

/// Columns with titles, and rows.
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Value>>,
}

impl Table {
    /// A table without rows. The titles are the keys in JSON.
    pub fn new(columns: &[(&'static str, Align)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with one value for each column.
    pub fn push(&mut self, row: Vec<Value>) {
        self.rows.push(row);
    }

    /// The table as an array of objects, one for each row.
    pub fn to_json(&self) -> Value {
        let object = |row: &Vec<Value>| {
            let cells = self.columns.iter().zip(row);
            let pairs = cells.map(|(&(title, _), cell)| (title.to_owned(), cell.clone()));
            Value::Object(pairs.collect::<Map<_, _>>())
        };
        self.rows.iter().map(object).collect()
    }

    /// Writes the table in lines: titles, a rule, rows. Numbers with a
    /// fraction get two digits of it.
    ///
    /// # Errors
    /// `out` can't be written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(text).collect())
            .collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|i| {
                let cells = rows.iter().filter_map(|row| row.get(i));
                let title = self.columns.get(i).map_or(0, |column| column.0.len());
                cells
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
                    .max(title)
            })
            .collect();
        let titles = self
            .columns
            .iter()
            .map(|column| column.0.to_owned())
            .collect();
        let rule = |&width: &usize| "-".repeat(width.min(WIDEST));
        let rule = widths.iter().map(rule).collect();
        for row in [titles, rule].iter().chain(&rows) {
            self.write_row(out, row, &widths)?;
        }
        Ok(())
    }

    fn write_row(&self, out: &mut impl Write, row: &[String], widths: &[usize]) -> io::Result<()> {
        let mut line = String::new();
        for ((cell, &(_, align)), &width) in row.iter().zip(&self.columns).zip(widths) {
            let width = width.min(WIDEST);
            match align {
                Align::Left => line.push_str(&format!("{cell:width$} ")),
                Align::Right => line.push_str(&format!("{cell:>width$} ")),
            }
        }
        writeln!(out, "{}", line.trim_end())
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            format!("{:.2}", number.as_f64().unwrap_or(0.0))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn for_people_and_programs() {
        let mut table = Table::new(&[("Class", Align::Left), ("Count", Align::Right)]);
        table.push(vec![json!("a.LongName"), json!(7)]);
        table.push(vec![json!("b"), json!(12.345)]);
        let mut lines = Vec::new();
        table.write(&mut lines).unwrap();
        let expected = "\
Class      Count
---------- -----
a.LongName     7
b          12.35
";
        assert_eq!(String::from_utf8(lines).unwrap(), expected);
        table.push(vec![json!("x".repeat(100_000)), json!(1)]);
        table.write(&mut std::io::sink()).unwrap();
        table.rows.pop();
        let json = json!([{"Class": "a.LongName", "Count": 7}, {"Class": "b", "Count": 12.345}]);
        assert_eq!(table.to_json(), json);
    }
}
