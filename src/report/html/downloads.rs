//! The raw data inside the page, as `data:` addresses.

use std::io::{Cursor, Write};

use maud::{Markup, html};
use zip::write::SimpleFileOptions;

use crate::report::text::{base64, bytes};
use crate::report::view::View;
use crate::report::{csv, json};

/// Larger files are zipped, so that a page over thousands of cases stays small.
const PLAIN_LIMIT: usize = 384 << 10;

struct Download {
    name: String,
    address: String,
    size: usize,
}

pub(super) fn section(view: &View) -> Markup {
    let files = [
        download("report.csv", "text/csv", csv::render(view)),
        download("report.json", "application/json", json::render(view)),
    ];
    html! {
        h2 id="download" class="download" { "Raw data" }
        p class="download" {
            @for f in &files {
                a href=(f.address) download=(f.name) { "Download " (f.name) } " (" (bytes(f.size as f64)) ") "
            }
        }
        p class="note download" {
            "CSV has one row a case and metric; JSON is everything shown here. Samples are in the run's record."
        }
    }
}

fn download(name: &str, mime: &str, text: String) -> Download {
    let size = text.len();
    if size <= PLAIN_LIMIT {
        let address = format!("data:{mime};charset=utf-8;base64,{}", base64(text.as_bytes()));
        return Download { name: name.into(), address, size };
    }
    let address = format!("data:application/zip;base64,{}", base64(&zipped(name, text.as_bytes())));
    Download { name: format!("{name}.zip"), address, size }
}

/// An archive of one file. The fixed date keeps equal reports equal.
fn zipped(name: &str, data: &[u8]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default());
    let in_memory = "an archive in memory takes every write";
    writer.start_file(name, options).expect(in_memory);
    writer.write_all(data).expect(in_memory);
    writer.finish().expect(in_memory).into_inner()
}
