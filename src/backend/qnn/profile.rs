//! The profile that QNN's provider writes: one CSV line an event, in the order of execution.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// A profile of many runs of a large graph is a few MB.
const MAX_BYTES: u64 = 64 << 20;

/// Sums over a profile.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Profile {
    /// Events of a whole execution that are in microseconds: name, sum, count.
    pub totals: BTreeMap<String, (f64, u64)>,
    /// Operators: name, sum, count; in the unit given by `unit`.
    pub operators: BTreeMap<String, (f64, u64)>,
    /// `US` or `CYCLES`. Cycles of a simulator follow the host's time and mean nothing.
    pub unit: String,
}

impl Profile {
    /// Reads a profile. Columns are found by their names, since newer versions add some.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
        Self::parse(file.take(MAX_BYTES))
    }

    fn parse(input: impl Read) -> Result<Self, String> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
        let head = reader.headers().map_err(|e| e.to_string())?.clone();
        let column = |name: &str| {
            head.iter()
                .position(|h| h.trim().eq_ignore_ascii_case(name))
                .ok_or_else(|| format!("no column `{name}`"))
        };
        let (message, time, unit) =
            (column("Message")?, column("Time")?, column("Unit of Measurement")?);
        let name = column("Event Identifier")?;
        let mut found = Profile::default();
        for row in reader.records() {
            let row = row.map_err(|e| e.to_string())?;
            let field = |i: usize| row.get(i).unwrap_or("").trim();
            let Some(value) = field(time).parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0)
            else {
                continue;
            };
            let is_operator = field(message).eq_ignore_ascii_case("node");
            let (unit, name) = (field(unit), plain(field(name)));
            let entry = if is_operator && matches!(unit, "US" | "CYCLES") {
                if found.unit.is_empty() {
                    found.unit = unit.to_owned();
                }
                if found.unit != unit {
                    continue;
                }
                found.operators.entry(name).or_default()
            } else if unit == "US" && !is_operator {
                let key = if matches!(name.as_str(), "" | "NULL") {
                    field(message).to_owned()
                } else {
                    name
                };
                found.totals.entry(key).or_default()
            } else {
                continue;
            };
            entry.0 += value;
            entry.1 += 1;
        }
        match found.operators.is_empty() && found.totals.is_empty() {
            true => Err("it holds no times".to_owned()),
            false => Ok(found),
        }
    }

    /// The slowest operators with their share of all operators' time, slowest first.
    pub(super) fn slowest(&self, count: usize) -> Vec<(String, f64)> {
        let total: f64 = self.operators.values().map(|(sum, _)| sum).sum();
        let mut all: Vec<_> = self
            .operators
            .iter()
            .map(|(name, (sum, _))| (name.clone(), sum / total.max(f64::MIN_POSITIVE)))
            .collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all.truncate(count);
        all
    }
}

/// `Conv_1:OpId_22 (cycles)` is `Conv_1`.
fn plain(name: &str) -> String {
    let name = name.strip_suffix("(cycles)").unwrap_or(name).trim();
    name.split_once(":OpId_").map_or(name, |(n, _)| n).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "Msg Timestamp,Message,Time,Unit of Measurement,Timing Source,Event Level,Event Identifier";

    fn parse(head: &str, rows: &str) -> Result<Profile, String> {
        Profile::parse(format!("{head}\n{rows}").as_bytes())
    }

    #[test]
    fn operators_are_summed_over_runs_and_totals_kept_apart() {
        let run = "UNKNOWN,EXECUTE,3100,US,BACKEND,ROOT,NULL\n\
            UNKNOWN,BACKEND,4,COUNT,BACKEND,SUB-EVENT,Number of HVX threads used\n\
            UNKNOWN,BACKEND,2800,US,BACKEND,SUB-EVENT,Accelerator (execute) time\n\
            UNKNOWN,NODE,6000,CYCLES,BACKEND,SUB-EVENT,\"Conv_1:OpId_22 (cycles)\"\n\
            UNKNOWN,NODE,2000,CYCLES,BACKEND,SUB-EVENT,Softmax:OpId_23 (cycles)\n";
        let profile = parse(HEAD, &run.repeat(2)).unwrap();
        assert_eq!(profile.unit, "CYCLES");
        assert_eq!(profile.operators["Conv_1"], (12000.0, 2));
        assert_eq!(profile.slowest(1), [("Conv_1".to_owned(), 0.75)]);
        assert_eq!(profile.totals["EXECUTE"], (6200.0, 2));
        assert_eq!(profile.totals["Accelerator (execute) time"], (5600.0, 2));
        assert!(!profile.totals.contains_key("Number of HVX threads used"));
    }

    #[test]
    fn a_newer_version_s_extra_column_is_no_trouble() {
        let head = format!("{HEAD},ONNX Source Ops");
        let profile = parse(&head, "0,NODE,5,US,BACKEND,SUB-EVENT,MatMul,a;b\n").unwrap();
        assert_eq!((profile.unit.as_str(), profile.operators["MatMul"]), ("US", (5.0, 1)));
    }

    #[test]
    fn what_is_no_profile_is_said_to_be_none() {
        assert!(parse("a,b", "1,2\n").unwrap_err().contains("no column"));
        assert!(parse(HEAD, "").unwrap_err().contains("no times"));
        assert!(parse(HEAD, "0,NODE,fast,US,B,S,x\n0,NODE,nan,US,B,S,x\n").is_err());
    }
}
