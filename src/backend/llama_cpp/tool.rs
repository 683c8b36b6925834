//! The user's own build, driven through its programs: what they really deploy, timed by itself.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::check::checked;
use super::options::Options;
use crate::backend::{BackendError, OpenRequest, ToolSession};
use crate::model::{Finding, FindingKind, Metric, Workload};
use crate::record::SessionFacts;

/// Most output read of a program.
const MAX_OUTPUT: u64 = 16 << 20;

/// `llama-bench` and the model it shall run.
pub(super) struct BenchTool {
    program: PathBuf,
    arguments: Vec<String>,
    prompt: u32,
    decode: u32,
    facts: SessionFacts,
}

/// A program of a build directory or an installation prefix.
pub(super) fn find_program(dir: &Path, name: &str) -> Option<PathBuf> {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let places = [dir.to_owned(), dir.join("bin"), dir.join("build/bin")];
    places.into_iter().map(|p| p.join(&file)).find(|p| p.is_file())
}

impl BenchTool {
    pub(super) fn open(dir: &Path, request: &OpenRequest) -> Result<Self, BackendError> {
        let program = find_program(dir, "llama-bench").ok_or_else(|| {
            BackendError::Unsupported(format!("`{}` holds no llama-bench", dir.display()))
        })?;
        let Workload::Generate { prompt, decode, depth } = request.workload else {
            return Err(BackendError::Unsupported(
                "llama-bench runs generate workloads only".into(),
            ));
        };
        checked(&request.variant.path)?;
        let options = Options::parse(&request.options)?;
        let help = output_of(Command::new(&program).arg("--help"))?;
        let knows = |flag: &str| help.contains(flag);
        let mut arguments = vec![
            "-m".to_owned(),
            request.variant.path.display().to_string(),
            "-t".to_owned(),
            request.threads.to_string(),
        ];
        let mut add = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
        add("-p", prompt.to_string());
        add("-n", decode.to_string());
        if depth > 0 {
            if !knows("--n-depth") {
                return Err(too_old("it has no --n-depth"));
            }
            add("-d", depth.to_string());
        }
        let defaults = Options::default();
        if request.device.eq_ignore_ascii_case("cpu") {
            add("-ngl", "0".to_owned());
        } else if let Some(layers) = options.gpu_layers {
            add("-ngl", layers.to_string());
        }
        if options.kv != defaults.kv {
            add("-ctk", options.kv.0.to_owned());
            add("-ctv", options.kv.0.to_owned());
        }
        match options.flash_attention {
            0 => add("-fa", "0".to_owned()),
            1 => add("-fa", "1".to_owned()),
            _ => {}
        }
        if (options.batch, options.ubatch) != (defaults.batch, defaults.ubatch) {
            add("-b", options.batch.to_string());
            add("-ub", options.ubatch.to_string());
        }
        if !options.mmap {
            match knows("--load-mode") {
                true => add("-lm", "none".to_owned()),
                false => add("-mmp", "0".to_owned()),
            }
        }
        let facts = SessionFacts { path: "tool".to_owned(), ..SessionFacts::default() };
        Ok(Self { program, arguments, prompt, decode, facts })
    }
}

impl ToolSession for BenchTool {
    fn facts(&self) -> SessionFacts {
        self.facts.clone()
    }

    fn run(
        &mut self,
        repetitions: u32,
        sink: &mut dyn FnMut(Metric, f64),
    ) -> Result<(), BackendError> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(["-r", &repetitions.max(1).to_string(), "-o", "json"]);
        let ended = watch(&mut command)?;
        let rows = parse(&ended.out)?;
        for (metric, wanted) in
            [(Metric::PrefillTokS, (self.prompt, 0)), (Metric::DecodeTokS, (0, self.decode))]
        {
            if wanted == (0, 0) {
                continue;
            }
            let row = rows.iter().find(|r| (r.prompt, r.decode) == wanted).ok_or_else(|| {
                BackendError::Failed(format!("llama-bench reported no row {wanted:?}"))
            })?;
            row.rates.iter().for_each(|rate| sink(metric, *rate));
            self.facts.version.clone_from(&row.build);
        }
        if let Some(bytes) = ended.peak {
            sink(Metric::PeakRssBytes, bytes as f64);
        }
        if rows.iter().any(|r| r.summary_only) {
            let text = "this llama-bench reports averages only, not each repetition";
            let hint = "a build after January 2024 reports every sample";
            self.facts.findings =
                vec![Finding::note(FindingKind::TooFewSamples, text).with_hint(hint)];
        }
        Ok(())
    }
}

/// Makes a variant with the build's own `llama-quantize`; returns the lines it wrote.
pub(super) fn quantize(
    program: &Path,
    source: &Path,
    target: &Path,
    file_type: &str,
) -> Result<Vec<String>, BackendError> {
    let mut command = Command::new(program);
    command.arg("--allow-requantize").arg(source).arg(target).arg(file_type);
    let ended = watch(&mut command)?;
    Ok(ended.out.lines().chain(ended.err.lines()).map(str::to_owned).collect())
}

/// One line of llama-bench's table.
#[derive(Debug, PartialEq)]
struct Row {
    prompt: u32,
    decode: u32,
    /// Tokens a second of each repetition; the average alone where old builds give no more.
    rates: Vec<f64>,
    summary_only: bool,
    build: String,
}

/// Reads the JSON that llama-bench prints, whatever else stands before it. Only what every version has is
/// relied on.
fn parse(text: &str) -> Result<Vec<Row>, BackendError> {
    let start = text.find("[\n").or_else(|| text.find('[')).unwrap_or(text.len());
    let value: Value = serde_json::Deserializer::from_str(&text[start..])
        .into_iter()
        .next()
        .and_then(Result::ok)
        .ok_or_else(|| too_old("it prints no JSON"))?;
    let entries = value.as_array().ok_or_else(|| too_old("its JSON is no list"))?;
    let rows: Vec<Row> = entries.iter().filter_map(row).collect();
    if rows.is_empty() {
        return Err(too_old("its JSON has no rates"));
    }
    Ok(rows)
}

fn row(entry: &Value) -> Option<Row> {
    let count = |key: &str| entry.get(key).and_then(Value::as_u64).unwrap_or(0) as u32;
    let samples = entry.get("samples_ts").and_then(Value::as_array);
    let valid = |x: &f64| x.is_finite() && *x > 0.0;
    let all: Vec<f64> =
        samples.into_iter().flatten().filter_map(Value::as_f64).filter(valid).collect();
    let average = || entry.get("avg_ts").and_then(Value::as_f64).filter(valid);
    let (rates, summary_only) = match all.is_empty() {
        false => (all, false),
        true => (vec![average()?], true),
    };
    let commit = entry.get("build_commit").and_then(Value::as_str).unwrap_or("unknown");
    let number = entry.get("build_number").and_then(Value::as_u64).unwrap_or(0);
    let commit: String = commit.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    let build = format!("b{number} ({commit}), own build");
    Some(Row { prompt: count("n_prompt"), decode: count("n_gen"), rates, summary_only, build })
}

fn too_old(why: &str) -> BackendError {
    BackendError::Unsupported(format!(
        "this llama-bench cannot be driven: {why} (hint: use a newer build of llama.cpp)"
    ))
}

/// What a program that ended well wrote, and its peak memory.
struct Ended {
    out: String,
    err: String,
    peak: Option<u64>,
}

fn watch(command: &mut Command) -> Result<Ended, BackendError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |e: std::io::Error| BackendError::failed(&format!("cannot run `{name}`"), e);
    end_with_us(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let out = read_on_thread(child.stdout.take());
    let err = read_on_thread(child.stderr.take());
    let mut peak = None;
    let status = loop {
        peak = peak_rss(&child).or(peak);
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    if status.success() {
        return Ok(Ended { out, err, peak });
    }
    let lines: Vec<&str> = err.lines().filter(|l| !l.trim().is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(3)..].join("; ");
    Err(BackendError::Failed(format!("`{name}` ended with {status}: {tail}")))
}

fn output_of(command: &mut Command) -> Result<String, BackendError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| BackendError::failed(&format!("cannot run `{name}`"), e))?;
    let both = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&both).into_owned())
}

fn read_on_thread(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            let _ = pipe.take(MAX_OUTPUT).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// `VmHWM` while it runs: the kernel keeps the highest, so the last look before the end counts.
fn peak_rss(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

/// The worker is killed at a deadline: its child must not go on.
#[cfg(target_os = "linux")]
fn end_with_us(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let die = || {
        let signal = Some(rustix::process::Signal::KILL);
        Ok(rustix::process::set_parent_process_death_signal(signal)?)
    };
    // SAFETY: a single system call, allowed between fork and exec.
    unsafe { command.pre_exec(die) };
}

#[cfg(not(target_os = "linux"))]
fn end_with_us(_: &mut Command) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_whatever_else_a_version_prints() {
        let text = r#"warning: something
[
  {"build_commit": "abc12", "build_number": 11434, "n_prompt": 512, "n_gen": 0, "avg_ts": 10.0,
   "samples_ts": [ 9.5, 10.5 ], "new_field": {"x": 1}},
  {"n_prompt": 0, "n_gen": 128, "avg_ts": 5.0}
]
trailing"#;
        let rows = parse(text).unwrap();
        assert_eq!(rows[0].rates, [9.5, 10.5]);
        assert_eq!(rows[0].build, "b11434 (abc12), own build");
        assert_eq!((rows[1].decode, rows[1].summary_only), (128, true));
    }

    #[test]
    fn a_build_without_json_is_one_clear_error() {
        for text in ["", "| model | size |", "[]", "[{\"n_prompt\": 1}]", "{}", "[1"] {
            let e = parse(text).unwrap_err();
            assert!(e.to_string().contains("newer build"), "{text}: {e}");
        }
    }

    #[test]
    fn programs_are_found_in_a_build_tree_or_a_prefix() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find_program(dir.path(), "llama-bench"), None);
        let bin = dir.path().join("build/bin");
        std::fs::create_dir_all(&bin).unwrap();
        let file = bin.join(format!("llama-bench{}", std::env::consts::EXE_SUFFIX));
        std::fs::write(&file, "").unwrap();
        assert_eq!(find_program(dir.path(), "llama-bench"), Some(file));
    }
}
