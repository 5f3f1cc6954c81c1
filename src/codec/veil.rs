//! Temporary files that tell nothing: AES-256-CTR under a key that is in memory alone.
//!
//! For what is to be sealed and waits on a disk before it is. The file has no name and no other
//! reader; what is left of its blocks on the disk is noise to everybody, and to this process once it
//! has let the key go. Whether the bytes are the right ones is compared by whoever has their digest.

use std::fmt;

use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use secrecy::{ExposeSecret as _, ExposeSecretMut as _, SecretBox};

use super::envelope::CryptoFailed;
use crate::model::Veil;

const BLOCK_BYTES: usize = 16;

/// The cipher of one file. Each place of it is written once.
pub struct CounterVeil(EncryptingKey);

impl fmt::Debug for CounterVeil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CounterVeil(redacted)")
    }
}

impl CounterVeil {
    /// Under a new key.
    ///
    /// # Errors
    /// The library's.
    pub fn random() -> Result<Self, CryptoFailed> {
        let mut key = SecretBox::new(Box::new([0; 32]));
        aws_lc_rs::rand::fill(key.expose_secret_mut())?;
        let key = UnboundCipherKey::new(&AES_256, key.expose_secret())?;
        Ok(Self(EncryptingKey::ctr(key)?))
    }
}

impl Veil for CounterVeil {
    fn apply(&self, offset: u64, bytes: &mut [u8]) -> std::io::Result<()> {
        // The key stream begins at a block: the bytes before the offset are made and dropped.
        let block = BLOCK_BYTES as u64;
        let counter = u128::from(offset / block).to_be_bytes();
        let context = EncryptionContext::Iv128(FixedLength::from(counter));
        // At most 15.
        let skipped = (offset % block) as usize;
        let failed = |_| std::io::Error::other(CryptoFailed);
        if skipped == 0 {
            return self.0.less_safe_encrypt(bytes, context).map(drop).map_err(failed);
        }
        let mut whole = vec![0; skipped];
        whole.extend_from_slice(bytes);
        self.0.less_safe_encrypt(&mut whole, context).map_err(failed)?;
        bytes.copy_from_slice(&whole[skipped..]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_comes_back_and_none_is_to_be_read_before() {
        let veil = CounterVeil::random().unwrap();
        let plain: Vec<u8> = (0..1000_u32).map(|n| (n % 7) as u8).collect();
        let mut veiled = plain.clone();
        // Written in pieces of odd lengths.
        let mut at = 0;
        for length in [1, 15, 16, 17, 100, 333, 518] {
            veil.apply(at as u64, &mut veiled[at..at + length]).unwrap();
            at += length;
        }
        assert_eq!(at, 1000);
        assert!(!veiled.windows(8).any(|window| plain.windows(8).any(|known| known == window)));
        for start in 0..64 {
            for end in [start + 1, start + 16, start + 100, 1000] {
                let mut part = veiled[start..end].to_vec();
                veil.apply(start as u64, &mut part).unwrap();
                assert_eq!(part, plain[start..end], "{start}..{end}");
            }
        }
        let mut other = veiled.clone();
        CounterVeil::random().unwrap().apply(0, &mut other).unwrap();
        assert_ne!(other, plain, "each file has a key of its own");
    }
}
