//! Reading and appending a record: `{"header":..}`, `{"case":..}` lines, `{"end":..}`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::schema::{CaseRecord, RunEnd, RunHeader, SCHEMA_VERSION};

/// File name of a record inside a run's directory.
pub(super) const FILE_NAME: &str = "record.ndjson";
/// A longer line is hostile or corrupt: the largest real ones are a few hundred kB.
const MAX_LINE: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("cannot read record `{path}`: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write record `{path}`: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("`{path}` is not a record: {why}")]
    NotARecord { path: PathBuf, why: String },
    #[error("record `{path}` has schema {found}, this build reads up to {SCHEMA_VERSION}")]
    Newer { path: PathBuf, found: u64 },
    #[error("record `{path}` is damaged at line {line}: {why}")]
    Damaged { path: PathBuf, line: usize, why: String },
    #[error("record `{0}` is being written by another process")]
    InUse(PathBuf),
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum LineOut<'a> {
    Header(&'a RunHeader),
    Case(&'a CaseRecord),
    End(EndOut<'a>),
}

/// The end with the checksum of every byte before its line: a record edited by hand is told from one that was measured.
#[derive(Serialize)]
struct EndOut<'a> {
    #[serde(flatten)]
    end: &'a RunEnd,
    sha256: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum LineIn {
    Header(Box<RunHeader>),
    Case(Box<CaseRecord>),
    End(EndIn),
}

#[derive(Deserialize)]
struct EndIn {
    #[serde(flatten)]
    end: RunEnd,
    /// Missing in records of older builds.
    sha256: Option<String>,
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// A whole run, as read back.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    pub header: RunHeader,
    pub cases: Vec<CaseRecord>,
    /// `None` where the run was cut off.
    pub end: Option<RunEnd>,
    /// True where a half-written last line was dropped.
    pub truncated: bool,
}

impl RunRecord {
    /// Reads a record from its file, or from the run directory that holds it.
    ///
    /// A half-written last line (killed mid-write) is dropped and noted in `truncated`; damage elsewhere is an error.
    pub fn load(path: &Path) -> Result<Self, RecordError> {
        let file_path = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
        let file = File::open(&file_path)
            .map_err(|source| RecordError::Read { path: file_path.clone(), source })?;
        Self::read(BufReader::new(file), &file_path)
    }

    /// The record as a file's text, for copies and exports.
    pub fn to_ndjson(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string(&LineOut::Header(&self.header))?;
        for case in &self.cases {
            text.push('\n');
            text.push_str(&serde_json::to_string(&LineOut::Case(case))?);
        }
        text.push('\n');
        if let Some(end) = &self.end {
            let sha256 = hex(Sha256::new_with_prefix(&text));
            text.push_str(&serde_json::to_string(&LineOut::End(EndOut { end, sha256 }))?);
            text.push('\n');
        }
        Ok(text)
    }

    fn read(mut input: impl BufRead, path: &Path) -> Result<Self, RecordError> {
        let mut header = None;
        let mut cases = Vec::new();
        let mut end = None;
        let mut truncated = false;
        let mut line = Vec::new();
        let mut hash = Sha256::new();
        for number in 1.. {
            hash.update(&line);
            line.clear();
            let read = (&mut input)
                .take(MAX_LINE)
                .read_until(b'\n', &mut line)
                .map_err(|source| RecordError::Read { path: path.to_owned(), source })?;
            if read == 0 {
                break;
            }
            let damaged =
                |why: String| RecordError::Damaged { path: path.to_owned(), line: number, why };
            let whole = line.last() == Some(&b'\n');
            if !whole && read as u64 == MAX_LINE {
                return Err(damaged(format!("line longer than {MAX_LINE} bytes")));
            }
            if number == 1 {
                header = Some(Self::parse_header(&line, path)?);
                continue;
            }
            match serde_json::from_slice(&line) {
                Ok(LineIn::Case(mut case)) => {
                    case.drop_simulated_speed();
                    cases.push(*case);
                }
                Ok(LineIn::End(e)) => {
                    if e.sha256.is_some_and(|told| told != hex(hash.clone())) {
                        return Err(damaged(
                            "the lines before it are not those that were measured".into(),
                        ));
                    }
                    end = Some(e.end);
                }
                Ok(LineIn::Header(_)) => return Err(damaged("a second header".into())),
                Err(_) if !whole => truncated = true,
                Err(e) => return Err(damaged(e.to_string())),
            }
        }
        let header = header.ok_or_else(|| RecordError::NotARecord {
            path: path.to_owned(),
            why: "the file is empty".into(),
        })?;
        Ok(Self { header, cases, end, truncated })
    }

    fn parse_header(line: &[u8], path: &Path) -> Result<RunHeader, RecordError> {
        let not_a_record = |why: String| RecordError::NotARecord { path: path.to_owned(), why };
        let value: serde_json::Value =
            serde_json::from_slice(line).map_err(|e| not_a_record(e.to_string()))?;
        let version = value
            .pointer("/header/schema_version")
            .and_then(serde_json::Value::as_u64)
            .ok_or_else(|| {
            not_a_record("the first line has no `header.schema_version`".into())
        })?;
        if version > u64::from(SCHEMA_VERSION) {
            return Err(RecordError::Newer { path: path.to_owned(), found: version });
        }
        match serde_json::from_value(value).map_err(|e| not_a_record(e.to_string()))? {
            LineIn::Header(h) => Ok(*h),
            _ => Err(not_a_record("the first line is not a header".into())),
        }
    }
}

/// Appends to a record; each line is on disk before the call returns.
#[derive(Debug)]
pub struct RecordWriter {
    file: File,
    path: PathBuf,
    /// Of all lines so far.
    hash: Sha256,
}

impl RecordWriter {
    /// Starts a record in `dir`, which is made. Fails where one is there already; a record that cannot even
    /// take its header (full disk) leaves nothing behind.
    pub fn create(dir: &Path, header: &RunHeader) -> Result<Self, RecordError> {
        let path = dir.join(FILE_NAME);
        let write = |source| RecordError::Write { path: path.clone(), source };
        std::fs::create_dir_all(dir).map_err(&write)?;
        if path.exists() {
            return Err(write(io::ErrorKind::AlreadyExists.into()));
        }
        // Under its own name only once it holds its header: a kill leaves a readable record or none.
        let part = path.with_extension("part");
        let file = OpenOptions::new().write(true).create_new(true).open(&part).map_err(&write)?;
        lock(&file, &path)?;
        let mut writer = Self { file, path: path.clone(), hash: Sha256::new() };
        let begun = writer
            .append(&LineOut::Header(header))
            .and_then(|()| std::fs::rename(&part, &path).map_err(&write));
        if let Err(e) = begun {
            // Best effort: the error that matters is the first. `remove_dir` spares a directory with other files.
            let _ = std::fs::remove_file(&part).and_then(|()| std::fs::remove_dir(dir));
            return Err(e);
        }
        Ok(writer)
    }

    /// Continues a record: a half-written last line is cut off first.
    pub fn resume(dir: &Path) -> Result<Self, RecordError> {
        let path = dir.join(FILE_NAME);
        let write = |source| RecordError::Write { path: path.clone(), source };
        let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(&write)?;
        lock(&file, &path)?;
        let keep = end_of_last_line(&mut file).map_err(&write)?;
        file.set_len(keep).map_err(&write)?;
        file.rewind().map_err(&write)?;
        let mut hash = Sha256::new();
        // Leaves the position at the end.
        io::copy(&mut file, &mut hash).map_err(&write)?;
        Ok(Self { file, path, hash })
    }

    pub fn case(&mut self, case: &CaseRecord) -> Result<(), RecordError> {
        self.append(&LineOut::Case(case))
    }

    pub fn end(&mut self, end: &RunEnd) -> Result<(), RecordError> {
        let sha256 = hex(self.hash.clone());
        self.append(&LineOut::End(EndOut { end, sha256 }))
    }

    fn append(&mut self, line: &LineOut) -> Result<(), RecordError> {
        let write = |source| RecordError::Write { path: self.path.clone(), source };
        let mut bytes = serde_json::to_vec(line).map_err(|e| write(e.into()))?;
        bytes.push(b'\n');
        self.file.write_all(&bytes).map_err(&write)?;
        self.hash.update(&bytes);
        self.file.sync_data().map_err(write)
    }
}

/// One writer a record. Elsewhere than on Unix a lock would keep readers out too.
fn lock(file: &File, path: &Path) -> Result<(), RecordError> {
    if cfg!(unix) && matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
        return Err(RecordError::InUse(path.to_owned()));
    }
    Ok(())
}

/// Offset just behind the last newline.
fn end_of_last_line(file: &mut File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut chunk = [0u8; 4096];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let part = &mut chunk[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(i) = part.iter().rposition(|&b| b == b'\n') {
            return Ok(start + i as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
