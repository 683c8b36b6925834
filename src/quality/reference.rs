//! The reference's distributions on disk: top-k and tail mass, not full logits.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::score::{Position, TOP_K};

const MAGIC: &[u8; 8] = b"EAREF\0\0\x01";
/// Positions one reference may hold.
const MAX_POSITIONS: u32 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    #[error("cannot read reference `{path}`: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write reference `{path}`: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("reference `{path}` is damaged")]
    Damaged { path: PathBuf },
}

/// Writes positions in order into a file that appears only when finished.
pub struct ReferenceWriter {
    out: BufWriter<tempfile::NamedTempFile>,
    path: PathBuf,
}

impl ReferenceWriter {
    pub fn create(path: &Path) -> Result<Self, ReferenceError> {
        let write = |source| ReferenceError::Write { path: path.to_owned(), source };
        let dir = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir).map_err(write)?;
        let file = tempfile::NamedTempFile::new_in(dir).map_err(write)?;
        let mut out = BufWriter::new(file);
        out.write_all(MAGIC).map_err(write)?;
        Ok(Self { out, path: path.to_owned() })
    }

    pub fn push(&mut self, position: &Position) -> Result<(), ReferenceError> {
        self.encode(position)
            .map_err(|source| ReferenceError::Write { path: self.path.clone(), source })
    }

    fn encode(&mut self, position: &Position) -> io::Result<()> {
        self.out.write_all(&(position.top.len() as u32).to_le_bytes())?;
        self.out.write_all(&position.next_log_p.to_le_bytes())?;
        for (id, log_p) in &position.top {
            self.out.write_all(&id.to_le_bytes())?;
            self.out.write_all(&log_p.to_le_bytes())?;
        }
        Ok(())
    }

    pub fn finish(self) -> Result<(), ReferenceError> {
        let write = |source| ReferenceError::Write { path: self.path.clone(), source };
        let file = self.out.into_inner().map_err(|e| write(e.into_error()))?;
        file.persist(&self.path).map_err(|e| write(e.error))?;
        Ok(())
    }
}

/// Reads positions back in order.
pub struct Reference {
    input: BufReader<File>,
    path: PathBuf,
    read: u32,
}

impl Reference {
    pub fn open(path: &Path) -> Result<Self, ReferenceError> {
        let read = |source| ReferenceError::Read { path: path.to_owned(), source };
        let mut input = BufReader::new(File::open(path).map_err(read)?);
        let mut magic = [0; 8];
        input.read_exact(&mut magic).map_err(read)?;
        if &magic != MAGIC {
            return Err(ReferenceError::Damaged { path: path.to_owned() });
        }
        Ok(Self { input, path: path.to_owned(), read: 0 })
    }

    /// The next position; an error where the file ends early or holds nonsense.
    pub fn next_position(&mut self) -> Result<Position, ReferenceError> {
        self.read += 1;
        let position = if self.read > MAX_POSITIONS { None } else { self.decode().ok().flatten() };
        position.ok_or_else(|| ReferenceError::Damaged { path: self.path.clone() })
    }

    fn decode(&mut self) -> io::Result<Option<Position>> {
        let count = self.u32()? as usize;
        let next_log_p = f32::from_bits(self.u32()?);
        if count > TOP_K {
            return Ok(None);
        }
        let mut top = Vec::with_capacity(count);
        for _ in 0..count {
            top.push((self.u32()?, f32::from_bits(self.u32()?)));
        }
        Ok(Some(Position { top, next_log_p }))
    }

    fn u32(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.input.read_exact(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back_as_written_and_a_cut_file_is_damaged() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("a.ref");
        let position = Position { top: vec![(3, -0.5), (9, -2.0)], next_log_p: -2.0 };
        let mut writer = ReferenceWriter::create(&path).unwrap();
        writer.push(&position).unwrap();
        writer.push(&position).unwrap();
        assert!(!path.exists(), "nothing appears before it is whole");
        writer.finish().unwrap();
        let mut reference = Reference::open(&path).unwrap();
        assert_eq!(reference.next_position().unwrap(), position);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        let mut cut = Reference::open(&path).unwrap();
        assert!(cut.next_position().is_ok() && cut.next_position().is_err());
    }

    #[test]
    fn a_huge_count_allocates_nothing() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("a.ref");
        let mut bytes = MAGIC.to_vec();
        bytes.extend([0xff; 8]);
        std::fs::write(&path, bytes).unwrap();
        assert!(Reference::open(&path).unwrap().next_position().is_err());
    }
}
