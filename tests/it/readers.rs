//! What others make of our files: JUnit, SARIF and CycloneDX against their schemas, Parquet through DuckDB.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use edge_advisor::model::{Metric, Precision};
use edge_advisor::report::{self, Grouping, ReportFormat};

use crate::records::{Run, case, noisy, slower, write};
use crate::report_records;

/// Runs Python with the readers that `tests/setup/30-readers.sh` installs.
fn python(code: &str, args: &[&Path]) -> String {
    let cache = std::env::var_os("EDGE_ADVISOR_TEST_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| {
        let home = std::env::var_os("HOME").expect("a home");
        Path::new(&home).join(".cache/edge-advisor-tests")
    });
    let python = cache.join("readers-2/bin/python");
    let run = Command::new(python).arg("-c").arg(code).args(args).output();
    let output: Output = run.expect("tests/setup/30-readers.sh was run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn schema(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/schemas").join(name)
}

/// Gates a regression, a lost case and two devices, and returns the directory with `N.xml` and `N.sarif` of each.
fn gates() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let speed = noisy(1, 5, 0.01).into_iter().map(|v| v * 40.0).collect::<Vec<_>>();
    let run = |id: &str| {
        let mut run = Run::new(id, 0);
        for precision in [Precision::F16, Precision::Q4_0] {
            run = run.measured(case(precision), 0, &[(Metric::DecodeTokS, &speed)]);
        }
        run.done()
    };
    let base = run("base");
    let mut slow = slower(&base, 1.2);
    slow.header.run_id = "slow".into();
    let mut gone = run("gone");
    gone.cases.remove(0);
    let mut other = run("other");
    other.header.device.id = "fp-other".into();
    for record in [&base, &slow, &gone, &other] {
        write(dir.path(), record);
    }
    for (head, code) in [("base", 0), ("slow", 10), ("gone", 10), ("other", 12)] {
        let output = Command::new(env!("CARGO_BIN_EXE_edge-advisor"))
            .current_dir(dir.path())
            .args(["gate", "base", head, "--junit", &format!("{head}.xml")])
            .args(["--sarif", &format!("{head}.sarif")])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{head}: {text}");
    }
    dir
}

#[test]
fn junit_and_sarif_files_of_every_verdict_are_valid_by_their_schemas() {
    let dir = gates();
    let code = "
import glob, json, os, sys, jsonschema, xmlschema
junit, sarif, directory = sys.argv[1:]
xml = xmlschema.XMLSchema(junit)
schema = json.load(open(sarif))
count = 0
for path in sorted(glob.glob(os.path.join(directory, '*.xml'))):
    xml.validate(path)
    count += 1
for path in sorted(glob.glob(os.path.join(directory, '*.sarif'))):
    jsonschema.validate(json.load(open(path)), schema)
    count += 1
print(count)
";
    let args = [schema("junit-10.xsd"), schema("sarif-2.1.0.json"), dir.path().to_owned()];
    let args: Vec<&Path> = args.iter().map(PathBuf::as_path).collect();
    assert_eq!(python(code, &args).trim(), "8");
}

#[test]
fn duckdb_reads_the_parquet_report_with_the_numbers_of_the_csv() {
    let view = report::build(&[report_records::full(1)], Grouping::ByRun);
    let dir = tempfile::tempdir().unwrap();
    let file = |format: ReportFormat| {
        let path = dir.path().join(format!("report.{}", format.extension()));
        std::fs::write(&path, format.render(&view)).unwrap();
        path
    };
    let (parquet, csv) = (file(ReportFormat::Parquet), file(ReportFormat::Csv));
    let code = "
import csv, duckdb, sys
rows = list(csv.DictReader(open(sys.argv[2])))
read = duckdb.sql(f\"select * from '{sys.argv[1]}'\")
assert read.columns == list(rows[0]), read.columns
for table, text in zip(read.fetchall(), rows, strict=True):
    for value, (name, cell) in zip(table, text.items()):
        if isinstance(value, (int, float)):
            assert float(cell) == value, (name, cell, value)
        elif value is None:
            assert cell == '', (name, cell)
        else:
            # The CSV disarms text that a spreadsheet would take for a formula.
            assert cell.lstrip(\"'\") == value.lstrip(\"'\"), (name, cell, value)
print(duckdb.sql(f\"select count(*) from '{sys.argv[1]}' where metric = 'decode_tok_s' and median > 0\").fetchall()[0][0])
";
    let count: u32 = python(code, &[&parquet, &csv]).trim().parse().unwrap();
    assert!(count > 5, "{count}");
}

#[test]
fn the_bill_of_materials_is_cyclonedx_and_names_what_is_linked() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/sbom.py");
    let code = "
import json, subprocess, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
text = subprocess.run([sys.executable, sys.argv[1], sys.argv[2]], check=True, capture_output=True, text=True).stdout
error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
assert error is None, error
names = {c['name'] for c in json.loads(text)['components']}
print('candle-core' in names, 'criterion' in names)
";
    let target = Path::new("x86_64-unknown-linux-gnu");
    // Benches need criterion, the program does not.
    assert_eq!(python(code, &[&script, target]).trim(), "True False");
}
