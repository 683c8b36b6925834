//! Downloads: https only, resumed where they broke off, capped, and checked against a pinned SHA-256
//! before the file gets its name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::{StatusCode, header};

use super::hash::sha256_file;

/// A file to download: what it must be, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download<'a> {
    pub url: &'a str,
    /// Lower-case hex.
    pub sha256: &'a str,
    /// Exact size in bytes; more is refused while it arrives.
    pub size: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("refusing `{url}`: not an https address")]
    NotHttps { url: String },
    #[error("cannot download `{url}`: {why}")]
    Network { url: String, why: String },
    #[error("cannot download `{url}`: the server answered {status}")]
    Status { url: String, status: u16 },
    #[error("`{url}` is not the pinned file: {why}")]
    Mismatch { url: String, why: String },
    #[error("cannot write `{path}`: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("another download of `{path}` is under way")]
    Busy { path: PathBuf },
}

impl FetchError {
    /// What a user can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            FetchError::NotHttps { .. } => "use an https index (plain http only from localhost)",
            FetchError::Network { why, .. } if why.contains("certificate") => {
                "behind a proxy with its own certificate: set SSL_CERT_FILE to its CA bundle"
            }
            FetchError::Network { .. } => {
                "check the network, or set HTTPS_PROXY; what has arrived is kept and the next try \
                 goes on from there"
            }
            FetchError::Status { status: 401 | 403 | 407, .. } => {
                "the index or proxy wants you to log in: check PIP_INDEX_URL, NPM_CONFIG_REGISTRY \
                 and HTTPS_PROXY"
            }
            FetchError::Status { status: 404 | 410, .. } => {
                "a mirror may not carry this version: unset PIP_INDEX_URL or NPM_CONFIG_REGISTRY"
            }
            FetchError::Status { .. } => "the server has a problem: try again later",
            FetchError::Mismatch { .. } => {
                "nothing was installed; a mirror or proxy may have changed the file"
            }
            FetchError::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free some disk space, or choose another place with EDGE_ADVISOR_DATA_DIR"
            }
            FetchError::Write { .. } => "choose a writable place with EDGE_ADVISOR_DATA_DIR",
            FetchError::Busy { .. } => "wait for it, or end the other process",
        }
    }

    /// Worth another try: the connection or the server, not the file.
    fn is_transient(&self) -> bool {
        match self {
            FetchError::Network { why, .. } => !why.contains("certificate"),
            FetchError::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            _ => false,
        }
    }
}

/// Called with bytes that are there and bytes in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Tries without any new byte before giving up.
const MAX_TRIES: u32 = 4;
/// Longest wait for the next bytes.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Downloads to `to`. What has arrived is kept as `<to>.part`, so a later call goes on from there;
/// `to` appears only once its hash is right. A file that is there already and right is left alone.
pub fn download(want: &Download, to: &Path, progress: Progress) -> Result<(), FetchError> {
    let write = |path: &Path, source| FetchError::Write { path: path.to_owned(), source };
    if to.is_file() && sha256_file(to).is_ok_and(|h| h == want.sha256) {
        return Ok(());
    }
    if let Some(dir) = to.parent() {
        std::fs::create_dir_all(dir).map_err(|e| write(dir, e))?;
    }
    let part_path = with_suffix(to, ".part");
    let part = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&part_path)
        .map_err(|e| write(&part_path, e))?;
    match part.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(FetchError::Busy { path: to.to_owned() }),
        // Some network file systems cannot lock: then two downloads are caught by the hash.
        Err(TryLockError::Error(_)) => {}
    }
    let resumed = part.metadata().map_err(|e| write(&part_path, e))?.len() > 0;
    let mut outcome = fill_and_check(want, &part, &part_path, progress);
    if resumed && matches!(outcome, Err(FetchError::Mismatch { .. })) {
        // The kept part may be from another version of the file: once more, from the start.
        part.set_len(0).map_err(|e| write(&part_path, e))?;
        outcome = fill_and_check(want, &part, &part_path, progress);
    }
    if matches!(outcome, Err(FetchError::Mismatch { .. })) {
        let _ = std::fs::remove_file(&part_path);
    }
    outcome?;
    part.sync_all().map_err(|e| write(&part_path, e))?;
    std::fs::rename(&part_path, to).map_err(|e| write(to, e))
}

/// Gets a small document (an index page), at most `max` bytes.
pub fn get(url: &str, accept: &str, max: u64) -> Result<Vec<u8>, FetchError> {
    retrying(|| {
        let response = agent(url)?
            .get(url)
            .header(header::ACCEPT, accept)
            .call()
            .map_err(|e| network(url, e))?;
        check_status(url, response.status())?;
        response.into_body().with_config().limit(max).read_to_vec().map_err(|e| network(url, e))
    })
}

/// What a hub says about a file before it is downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// Lower-case hex, where the server gives one (`X-Linked-Etag` of a Hugging Face hub).
    pub(super) sha256: Option<String>,
    pub(super) size: Option<u64>,
}

/// Asks for a file's checksum and size. One try: whoever asks has another source, or a user who can try again.
pub(super) fn head(url: &str) -> Result<Head, FetchError> {
    const MAX_REDIRECTS: usize = 5;
    let mut at = url.to_owned();
    for _ in 0..MAX_REDIRECTS {
        let request = agent(&at)?.head(&at).config().max_redirects(0);
        let response = request
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .build()
            .call()
            .map_err(|e| network(&at, e))?;
        let text = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
        let sha256 = text("x-linked-etag").and_then(sha256_of_etag);
        let size = text("x-linked-size").or_else(|| text("content-length"));
        // The answer that carries the checksum is the hub's own, before it sends us to its storage.
        if sha256.is_some() || !response.status().is_redirection() {
            if sha256.is_none() {
                check_status(&at, response.status())?;
            }
            return Ok(Head { sha256, size: size.and_then(|s| s.parse().ok()) });
        }
        let Some(next) = text("location") else { break };
        at = match next.contains("://") {
            true => next.to_owned(),
            false => origin(&at).to_owned() + next,
        };
    }
    Err(FetchError::Network { url: shown(url), why: "it redirects without an answer".into() })
}

fn sha256_of_etag(etag: &str) -> Option<String> {
    let hash = etag.trim_start_matches("W/").trim_matches('"').to_lowercase();
    (hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit())).then_some(hash)
}

/// `https://host` of an address.
fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |i| i + 3);
    &url[..url[start..].find('/').map_or(url.len(), |i| start + i)]
}

/// `path` with `suffix` behind its file name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn fill_and_check(
    want: &Download,
    part: &File,
    part_path: &Path,
    progress: Progress,
) -> Result<(), FetchError> {
    let mut tries = 0;
    loop {
        let before = have(part, part_path)?;
        match fill(want, part, part_path, progress) {
            Ok(()) => break,
            Err(e) if e.is_transient() => {
                if have(part, part_path)? > before {
                    tries = 0;
                }
                tries += 1;
                if tries >= MAX_TRIES {
                    return Err(e);
                }
                backoff(tries);
            }
            Err(e) => return Err(e),
        }
    }
    let found = sha256_file(part_path)
        .map_err(|source| FetchError::Write { path: part_path.to_owned(), source })?;
    if found == want.sha256 {
        return Ok(());
    }
    let why = format!("SHA-256 is {found}, expected {}", want.sha256);
    Err(FetchError::Mismatch { url: shown(want.url), why })
}

/// One request for what is still missing.
fn fill(
    want: &Download,
    part: &File,
    part_path: &Path,
    progress: Progress,
) -> Result<(), FetchError> {
    let write = |source| FetchError::Write { path: part_path.to_owned(), source };
    let mismatch = |why: String| FetchError::Mismatch { url: shown(want.url), why };
    let mut done = have(part, part_path)?;
    if done > want.size {
        part.set_len(0).map_err(write)?;
        done = 0;
    }
    progress(done, want.size);
    if done == want.size {
        return Ok(());
    }
    let mut request = agent(want.url)?.get(want.url).header(header::ACCEPT_ENCODING, "identity");
    if done > 0 {
        request = request.header(header::RANGE, format!("bytes={done}-"));
    }
    let response = request.call().map_err(|e| network(want.url, e))?;
    let starts_here = response
        .headers()
        .get(header::CONTENT_RANGE)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.starts_with(&format!("bytes {done}-")));
    let from_start = match response.status() {
        StatusCode::PARTIAL_CONTENT if starts_here => false,
        StatusCode::PARTIAL_CONTENT => {
            return Err(mismatch("the server sent another part than was asked for".into()));
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            return Err(mismatch("the server's file is shorter".into()));
        }
        status => {
            check_status(want.url, status)?;
            true
        }
    };
    if from_start && done > 0 {
        part.set_len(0).map_err(write)?;
        done = 0;
    }
    let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
    let mut out = part;
    let mut chunk = vec![0u8; 1 << 16];
    loop {
        let n = body.read(&mut chunk).map_err(|e| network(want.url, ureq::Error::Io(e)))?;
        if n == 0 {
            break;
        }
        done += n as u64;
        if done > want.size {
            return Err(mismatch(format!("longer than the pinned {} bytes", want.size)));
        }
        out.write_all(&chunk[..n]).map_err(write)?;
        progress(done, want.size);
    }
    if done == want.size {
        return Ok(());
    }
    let why = format!("ended after {done} of {} bytes", want.size);
    Err(FetchError::Network { url: shown(want.url), why })
}

fn have(part: &File, path: &Path) -> Result<u64, FetchError> {
    let metadata = part.metadata();
    metadata.map(|m| m.len()).map_err(|source| FetchError::Write { path: path.to_owned(), source })
}

fn retrying<T>(mut attempt: impl FnMut() -> Result<T, FetchError>) -> Result<T, FetchError> {
    let mut tries = 0;
    loop {
        match attempt() {
            Err(e) if e.is_transient() && tries + 1 < MAX_TRIES => {
                tries += 1;
                backoff(tries);
            }
            outcome => return outcome,
        }
    }
}

fn backoff(tries: u32) {
    std::thread::sleep(Duration::from_millis(250 << tries.min(6)));
}

/// Proxies come from `HTTPS_PROXY` and its kin, certificates from the platform or `SSL_CERT_FILE`.
fn agent(url: &str) -> Result<ureq::Agent, FetchError> {
    let loopback = is_loopback(url);
    if !url.starts_with("https://") && !loopback {
        return Err(FetchError::NotHttps { url: shown(url) });
    }
    let tls =
        ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build();
    let config = ureq::Agent::config_builder()
        .https_only(!loopback)
        .http_status_as_error(false)
        .tls_config(tls)
        .user_agent(concat!("edge-advisor/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(READ_TIMEOUT))
        .timeout_per_read(Some(READ_TIMEOUT));
    Ok(config.build().new_agent())
}

fn is_loopback(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    matches!(host, "localhost" | "127.0.0.1" | "::1")
}

fn check_status(url: &str, status: StatusCode) -> Result<(), FetchError> {
    if status.is_success() {
        return Ok(());
    }
    Err(FetchError::Status { url: shown(url), status: status.as_u16() })
}

fn network(url: &str, e: ureq::Error) -> FetchError {
    FetchError::Network { url: shown(url), why: e.to_string() }
}

/// The address without user name and password.
fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        assert_eq!(shown("https://me:pw@host.example/simple/x"), "https://host.example/simple/x");
        assert_eq!(shown("https://host.example"), "https://host.example");
    }

    #[test]
    fn only_https_and_loopback_are_allowed() {
        for url in ["http://host.example/x", "ftp://x/y", "http://localhost.evil.example/x", "x"] {
            assert!(matches!(agent(url), Err(FetchError::NotHttps { .. })), "{url}");
        }
        for url in ["https://host.example/x", "http://localhost:80/x", "http://[::1]:80/x"] {
            assert!(agent(url).is_ok(), "{url}");
        }
        assert!(!is_loopback("http://localhost@evil.example/x"));
    }
}
