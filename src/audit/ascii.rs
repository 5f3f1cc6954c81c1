//! JSON in printable ASCII, so that no text of a caller's can end a line, whatever a reader takes for
//! the end of one (U+0085, U+2028), nor turn a terminal's writing around.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::Formatter;

struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for c in fragment.chars() {
            if matches!(c, ' '..='~') {
                out.write_all(&[c as u8])?;
                continue;
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

/// One object, without a line break.
pub fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, Ascii);
    // Texts and numbers into memory: there is nothing that can fail.
    value.serialize(&mut serializer).unwrap_or_default();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_comes_back_and_none_ends_a_line() {
        let text: String = ('\0'..='\u{ffff}').chain(['\u{1f600}', '\u{10ffff}']).collect();
        let json = to_json(&text);
        assert!(json.iter().all(|byte| (b' '..=b'~').contains(byte)));
        assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
    }
}
