//! What `cargo metadata` says about the workspace: where it is, where it builds, which packages and features it has.
//! Read once per chore, so that a new member or a new feature is checked without anybody listing it here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::shell::{self, Failure, cargo};

/// Without dependencies `cargo metadata` resolves nothing; it answers well within this.
const METADATA_BOUND: Duration = Duration::from_secs(60);

/// The workspace that xtask belongs to.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Without `default`, which names a set of the others.
    pub(crate) features: Vec<String>,
    /// The names of its benches, in the order of its manifest.
    pub(crate) benches: Vec<String>,
    /// Whether others may depend on it: a published crate has to build by itself.
    pub(crate) is_published: bool,
}

impl Workspace {
    pub(crate) fn read() -> Result<Self, Failure> {
        let mut metadata = cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"]);
        metadata.current_dir(env!("CARGO_MANIFEST_DIR"));
        Self::parse(&shell::read(&mut metadata, METADATA_BOUND)?)
    }

    fn parse(metadata: &str) -> Result<Self, Failure> {
        let metadata: Value = serde_json::from_str(metadata)
            .map_err(|error| Failure::new(format!("cargo metadata is not JSON: {error}")))?;
        Ok(Self {
            root: PathBuf::from(text(&metadata, "workspace_root")?),
            target: PathBuf::from(text(&metadata, "target_directory")?),
            packages: list(&metadata, "packages")?.iter().map(Package::parse).collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where builds go, and what the chores fetch.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Every bench there is, with its package, in the order of the manifests.
    pub(crate) fn benches(&self) -> impl Iterator<Item = (&Package, &str)> {
        self.packages.iter().flat_map(|package| package.benches.iter().map(move |bench| (package, bench.as_str())))
    }

    pub(crate) fn published(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.is_published)
    }
}

impl Package {
    fn parse(package: &Value) -> Result<Self, Failure> {
        let features = package["features"].as_object().ok_or_else(|| absent("features"))?;
        Ok(Self {
            name: text(package, "name")?.to_owned(),
            features: features.keys().filter(|name| *name != "default").cloned().collect(),
            benches: list(package, "targets")?
                .iter()
                .filter(|target| is_bench(target))
                .map(name)
                .collect::<Result<_, _>>()?,
            // `publish = false` is an empty list of registries; no restriction is null.
            is_published: package["publish"].is_null(),
        })
    }
}

fn is_bench(target: &Value) -> bool {
    target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "bench"))
}

fn name(target: &Value) -> Result<String, Failure> {
    Ok(text(target, "name")?.to_owned())
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str, Failure> {
    value[field].as_str().ok_or_else(|| absent(field))
}

fn list<'a>(value: &'a Value, field: &str) -> Result<&'a [Value], Failure> {
    value[field].as_array().map(Vec::as_slice).ok_or_else(|| absent(field))
}

fn absent(field: &str) -> Failure {
    Failure::new(format!("cargo metadata has no usable '{field}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{
        "workspace_root": "/w", "target_directory": "/t",
        "packages": [
            {"name": "lib", "publish": null, "features": {"b": [], "default": ["b"], "a": []}, "targets": []},
            {"name": "chores", "publish": [], "features": {}, "targets": [
                {"kind": ["lib"], "name": "chores"},
                {"kind": ["bench"], "name": "speed"}, {"kind": ["bench"], "name": "room"}
            ]}
        ]
    }"#;

    #[test]
    fn a_package_lists_its_features_without_default() {
        let workspace = Workspace::parse(METADATA).expect("the sample is complete");
        assert_eq!((workspace.root(), workspace.target()), (Path::new("/w"), Path::new("/t")));
        let published: Vec<_> = workspace.published().collect();
        assert_eq!(published.len(), 1);
        assert_eq!(published[0].name, "lib");
        assert_eq!(published[0].features, ["a", "b"]);
    }

    #[test]
    fn benches_come_in_the_order_of_the_manifest() {
        let workspace = Workspace::parse(METADATA).expect("the sample is complete");
        let benches: Vec<_> = workspace.benches().map(|(package, bench)| (package.name.as_str(), bench)).collect();
        assert_eq!(benches, [("chores", "speed"), ("chores", "room")]);
    }

    #[test]
    fn a_field_that_is_missing_is_named() {
        let message = |json| Workspace::parse(json).expect_err("incomplete").to_string();
        assert!(message("{}").contains("'workspace_root'"));
        assert!(message("no").contains("not JSON"));
        let no_features = METADATA.replace("features", "colours");
        assert!(message(&no_features).contains("'features'"));
    }
}
