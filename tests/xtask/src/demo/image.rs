//! An image to copy: what no cache, compression or run of zeroes can make up for, and a hole behind it.

use anyhow::Context;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes `data` bytes (a multiple of 8) that look random but are the same each time, then extends the file with a
/// hole to `size` bytes.
///
/// # Errors
/// When the file cannot be written; the message names it.
pub fn write(to: &Path, data: u64, size: u64) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let mut out = BufWriter::new(std::fs::File::create(to)?);
        // xorshift64 with Marsaglia's first triple: every word but 0 comes once in 2^64 - 1.
        let mut word = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..data / 8 {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            out.write_all(&word.to_le_bytes())?;
        }
        out.into_inner()?.set_len(size)
    };
    write().with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn an_image_has_distinct_blocks_and_a_hole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("image");
        write(&file, 1 << 20, 3 << 20).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        let (data, hole) = bytes.split_at(1 << 20);
        assert_eq!(bytes.len(), 3 << 20);
        assert!(hole.iter().all(|&byte| byte == 0));
        let blocks: HashSet<&[u8]> = data.chunks(512).collect();
        assert_eq!(blocks.len(), 2048, "a block in the wrong place does not go unnoticed");
    }
}
