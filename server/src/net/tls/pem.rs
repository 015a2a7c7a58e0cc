//! What stands in a PEM file, found by the same lines as OpenSSL finds it.

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block<'a> {
    /// What stands behind BEGIN, as `CERTIFICATE`.
    pub label: &'a [u8],
    /// Whether its content is encrypted.
    pub is_encrypted: bool,
}

impl Block<'_> {
    /// A certificate, by any of its three names.
    pub fn is_certificate(&self) -> bool {
        matches!(
            self.label,
            b"CERTIFICATE" | b"X509 CERTIFICATE" | b"TRUSTED CERTIFICATE"
        )
    }

    /// A list of revoked certificates.
    pub fn is_crl(&self) -> bool {
        self.label == b"X509 CRL"
    }

    /// A private key of any kind.
    pub fn is_key(&self) -> bool {
        self.label.ends_with(b"PRIVATE KEY")
    }
}

/// The blocks that begin in `text`.
pub fn blocks(text: &[u8]) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii_end();
        let label = line
            .strip_prefix(b"-----BEGIN ")
            .and_then(|rest| rest.strip_suffix(b"-----"));
        if let Some(label) = label {
            blocks.push(Block {
                label,
                is_encrypted: label == b"ENCRYPTED PRIVATE KEY",
            });
        } else if line.starts_with(b"Proc-Type:")
            && line.ends_with(b"ENCRYPTED")
            && let Some(block) = blocks.last_mut()
        {
            block.is_encrypted = true;
        }
    }
    blocks
}

/// Whether `bytes` are a certificate or key in DER, the format without letters.
pub fn is_der(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, length, ..] if *length >= 0x80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_between_text() {
        let text =
            b"subject=/CN=a\n-----BEGIN CERTIFICATE-----\r\nMII=\r\n-----END CERTIFICATE-----\n\
            -----BEGIN RSA PRIVATE KEY-----  \nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nMII=\n\
            -----END RSA PRIVATE KEY-----\n -----BEGIN X509 CRL-----\n-----BEGIN X509 CRL-----\n\
            -----BEGIN ENCRYPTED PRIVATE KEY-----";
        let found = blocks(text);
        let shown: Vec<_> = found
            .iter()
            .map(|b| {
                let label = String::from_utf8_lossy(b.label).into_owned();
                (label, b.is_certificate(), b.is_key(), b.is_encrypted)
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("CERTIFICATE".to_owned(), true, false, false),
                ("RSA PRIVATE KEY".to_owned(), false, true, true),
                ("X509 CRL".to_owned(), false, false, false),
                ("ENCRYPTED PRIVATE KEY".to_owned(), false, true, true),
            ]
        );
        assert!(found[2].is_crl() && !found[0].is_crl());
        assert!(blocks(b"").is_empty());
        assert!(is_der(b"\x30\x82\x01") && !is_der(b"-----") && !is_der(b"0 is text"));
    }
}
