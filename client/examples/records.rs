//! Reads records, in hexadecimal, one a line, and shows each as JSON. With `--again` it writes
//! them again instead, as hexadecimal of what `Record::encode` makes.
//!
//! ```text
//! python -c "..." | cargo run --example records
//! ```
use std::io::{BufRead, Write};

use zeo_client::record::Record;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let again = std::env::args().nth(1).as_deref() == Some("--again");
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let record = bytes(&line?).ok_or("not hexadecimal")?;
        match Record::decode(record) {
            Ok(record) if again => {
                for byte in record.encode()? {
                    write!(out, "{byte:02x}")?;
                }
                writeln!(out)?;
            }
            Ok(record) => writeln!(out, "{}", record.to_json())?,
            Err(error) => writeln!(out, "{error}")?,
        }
    }
    Ok(())
}

fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    let digits = hexadecimal.trim().as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
