//! What the library says: caught line by line, never printed, and read for memory sizes and causes.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Mutex;

/// Newest lines kept; a load writes a few hundred above debug level.
const MAX_LINES: usize = 4000;
const MAX_LINE: usize = 1000;
const DEBUG: c_int = 1;
const WARN: c_int = 3;
const ERROR: c_int = 4;
const CONTINUED: c_int = 5;

struct Log {
    lines: VecDeque<(c_int, String)>,
    /// How many older lines were dropped.
    dropped: usize,
    /// Level of the line under way, for its continuations.
    level: c_int,
    open: bool,
}

static LOG: Mutex<Log> = Mutex::new(Log::new());

/// The callback handed to `llama_log_set`.
pub(super) unsafe extern "C" fn capture(level: c_int, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: the library passes a terminated string that lives through the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let Ok(mut log) = LOG.lock() else { return };
    log.add(level, &text);
}

impl Log {
    const fn new() -> Self {
        Self { lines: VecDeque::new(), dropped: 0, level: DEBUG, open: false }
    }

    /// How many lines there were: a mark for [`Log::since`].
    fn mark(&self) -> usize {
        self.dropped + self.lines.len()
    }

    /// The lines behind a mark that are still kept.
    fn since(&self, mark: usize) -> impl Iterator<Item = &(c_int, String)> {
        self.lines.iter().skip(mark.saturating_sub(self.dropped))
    }

    fn add(&mut self, level: c_int, text: &str) {
        let level = if level == CONTINUED { self.level } else { level };
        self.level = level;
        if level == DEBUG {
            return;
        }
        for piece in text.split_inclusive('\n') {
            let content = piece.trim_end_matches('\n');
            match self.lines.back_mut() {
                Some((l, line)) if self.open && *l == level => {
                    let room = MAX_LINE.saturating_sub(line.len());
                    line.extend(content.chars().take(room));
                }
                _ => self.lines.push_back((level, content.chars().take(MAX_LINE).collect())),
            }
            if self.lines.len() > MAX_LINES {
                self.lines.pop_front();
                self.dropped += 1;
            }
            self.open = !piece.ends_with('\n');
        }
    }
}

/// A mark for [`since`].
pub(super) fn mark() -> usize {
    LOG.lock().map_or(0, |log| log.mark())
}

/// The lines behind a mark.
pub(super) fn since(mark: usize) -> Vec<String> {
    let lines = |log: &Log| log.since(mark).map(|(_, line)| line.clone()).collect();
    LOG.lock().map_or(Vec::new(), |log| lines(&log))
}

/// Why something failed: the errors and warnings behind a mark, as one phrase.
pub(super) fn cause(mark: usize) -> String {
    let Ok(log) = LOG.lock() else { return String::new() };
    let told: Vec<&str> = log
        .since(mark)
        .filter(|(level, line)| matches!(*level, WARN | ERROR) && !line.trim().is_empty())
        .map(|(_, line)| line.trim())
        .collect();
    if told.is_empty() {
        return "the library gave no reason".to_owned();
    }
    told[told.len().saturating_sub(4)..].join("; ")
}

/// Whether a cause speaks of memory.
pub(super) fn is_out_of_memory(cause: &str) -> bool {
    let cause = cause.to_lowercase();
    ["out of memory", "failed to allocate", "unable to allocate", "cudamalloc failed", "bad_alloc"]
        .iter()
        .any(|sign| cause.contains(sign))
}

/// Sizes as the library reports them while loading, in bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Buffers {
    pub weights: Option<u64>,
    pub kv_cache: Option<u64>,
    pub compute: Option<u64>,
    /// All kinds together by device, `CPU`, `CUDA0`.
    pub by_device: BTreeMap<String, u64>,
}

impl Buffers {
    pub(super) fn read(lines: &[String]) -> Self {
        let mut buffers = Buffers::default();
        for line in lines {
            buffers.line(line);
        }
        buffers
    }

    /// `sched_reserve:        CPU compute buffer size =    98.25 MiB`
    fn line(&mut self, line: &str) {
        let Some((head, tail)) = line.split_once(" buffer size =") else { return };
        let mut words = head.split_whitespace().rev();
        let (Some(kind), Some(device)) = (words.next(), words.next()) else { return };
        let mut size = tail.split_whitespace();
        let (Some(number), Some("MiB")) = (size.next(), size.next()) else { return };
        let Ok(mib) = number.parse::<f64>() else { return };
        if !mib.is_finite() || mib < 0.0 {
            return;
        }
        let bytes = (mib * f64::from(1 << 20)) as u64;
        let slot = match kind {
            "model" => &mut self.weights,
            "KV" | "RS" => &mut self.kv_cache,
            "compute" | "output" => &mut self.compute,
            _ => return,
        };
        *slot = Some(slot.unwrap_or(0).saturating_add(bytes));
        let device = device.trim_end_matches("_Mapped").to_owned();
        let total = self.by_device.entry(device).or_default();
        *total = total.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_sizes_are_read_from_the_load_log() {
        let lines = [
            "load_tensors:   CPU_Mapped model buffer size =    92.10 MiB",
            "load_tensors:        CUDA0 model buffer size =    10.00 MiB",
            "llama_context:        CPU  output buffer size =     0.19 MiB",
            "llama_kv_cache:        CPU KV buffer size =    11.25 MiB",
            "sched_reserve:        CPU compute buffer size =    98.25 MiB",
            "print_info: file size   = 92.10 MiB (5.74 BPW)",
            "x: CPU KV buffer size = nan MiB",
        ];
        let b = Buffers::read(&lines.map(String::from));
        let mib = |x: f64| Some((x * 1048576.0) as u64);
        assert_eq!(b.kv_cache, mib(11.25));
        assert!((b.weights.unwrap() as f64 / 1048576.0 - 102.1).abs() < 0.01);
        assert!((b.compute.unwrap() as f64 / 1048576.0 - 98.44).abs() < 0.01);
        assert_eq!(b.by_device.keys().collect::<Vec<_>>(), ["CPU", "CUDA0"]);
    }

    #[test]
    fn lines_are_joined_and_debug_is_dropped() {
        let mut log = Log::new();
        log.add(2, "load: ");
        log.add(CONTINUED, "done\nnext\n");
        log.add(DEBUG, "noise\n");
        log.add(CONTINUED, "more noise\n");
        log.add(ERROR, "bad\n");
        let lines: Vec<_> = log.lines.iter().map(|(_, l)| l.as_str()).collect();
        assert_eq!(lines, ["load: done", "next", "bad"]);
    }

    #[test]
    fn a_full_log_keeps_what_comes_last() {
        let mut log = Log::new();
        (0..MAX_LINES + 10).for_each(|n| log.add(2, &format!("{n}\n")));
        let mark = log.mark();
        log.add(2, "new\n");
        let behind: Vec<_> = log.since(mark).map(|(_, line)| line.as_str()).collect();
        assert_eq!((behind, log.lines.len()), (vec!["new"], MAX_LINES));
    }

    #[test]
    fn memory_trouble_is_told_from_other_causes() {
        assert!(is_out_of_memory("ggml_backend_cpu: failed to allocate buffer of size 7"));
        assert!(!is_out_of_memory("unknown model architecture"));
    }
}
