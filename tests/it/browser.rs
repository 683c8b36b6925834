//! The HTML report in a real browser: Debian's chromium, headless, without a network.

use std::path::{Path, PathBuf};
use std::process::Command;

use edge_advisor::report::{self, Grouping};

use crate::report_records as records;

/// The browser, or `None` where there is none and none is demanded.
fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = std::env::split_paths(&path)
        .flat_map(|dir| names.map(|n| dir.join(n)))
        .find(|p| p.is_file());
    if found.is_none() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "chromium is not installed: run tests/setup/chromium.sh"
        );
        eprintln!("skipped: chromium is not installed (tests/setup/chromium.sh installs it)");
    }
    found
}

/// Runs chromium on a page; stdout and stderr.
fn open(browser: &Path, page: &Path, home: &Path, more: &[&str]) -> (String, String) {
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync", "--no-first-run"])
        .args(["--hide-scrollbars", "--enable-logging=stderr", "--v=0"])
        .arg(format!("--user-data-dir={}", home.join("profile").display()))
        .args(more)
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("chromium starts");
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
    (text(output.stdout), text(output.stderr))
}

/// The page, and the same with the checking script behind it and its policy taken off.
fn pages(home: &Path) -> (PathBuf, PathBuf) {
    let view = report::build(&[records::full(1)], Grouping::ByRun);
    let html = report::html::render(&view);
    let plain = home.join("report.html");
    std::fs::write(&plain, &html).unwrap();
    let script = include_str!("../browser/check.js");
    let start = html.find("<meta http-equiv=\"Content-Security-Policy\"").unwrap();
    let end = start + html[start..].find('>').unwrap() + 1;
    let checked = format!("{}{}", &html[..start], &html[end..])
        .replace("</body>", &format!("<script>{script}</script></body>"));
    let checked_path = home.join("checked.html");
    std::fs::write(&checked_path, checked).unwrap();
    (plain, checked_path)
}

#[test]
fn a_browser_shows_sorts_and_filters_the_report_without_an_error() {
    let Some(browser) = browser() else { return };
    let home = tempfile::tempdir().unwrap();
    let (plain, checked) = pages(home.path());
    let (dom, errors) = open(&browser, &plain, home.path(), &["--dump-dom"]);
    assert!(!errors.contains("CONSOLE"), "{errors}");
    // The page's own script ran under its own policy.
    assert!(dom.contains("<button type=\"button\">Framework</button>"));
    for width in ["1280", "500"] {
        let size = format!("--window-size={width},900");
        let (dom, errors) = open(&browser, &checked, home.path(), &["--dump-dom", &size]);
        assert!(!errors.contains("CONSOLE"), "{errors}");
        let seen = dom.split("id=\"browser-check\">").nth(1).expect("the check ran");
        let seen: serde_json::Value =
            serde_json::from_str(seen.split("</output>").next().unwrap()).unwrap();
        for (key, wanted) in [
            ("ascending", true),
            ("descending", true),
            ("filtered", true),
            ("wide", false),
            ("overlaps", false),
        ] {
            assert_eq!(seen[key], wanted, "{key} at {width}: {seen}");
        }
        assert!(seen["tables"].as_u64() >= Some(6) && seen["figures"].as_u64() >= Some(14));
    }
}

#[test]
fn light_and_dark_are_different_pictures() {
    let Some(browser) = browser() else { return };
    let home = tempfile::tempdir().unwrap();
    let (plain, _) = pages(home.path());
    let picture = |name: &str, more: &str| {
        let path = home.path().join(name);
        let shot = format!("--screenshot={}", path.display());
        open(&browser, &plain, home.path(), &[&shot, "--window-size=1280,900", more]);
        std::fs::read(&path).expect("a screenshot")
    };
    let light = picture("light.png", "--blink-settings=preferredColorScheme=1");
    let dark = picture("dark.png", "--blink-settings=preferredColorScheme=0");
    assert!(light.len() > 10_000 && dark.len() > 10_000 && light != dark);
}
