//! Stable ids of findings, so that CI systems know a finding again.

use sha2::{Digest, Sha256};

/// The first 16 bytes, hex, of a hash over the parts.
pub(super) fn fingerprint(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect()
}
