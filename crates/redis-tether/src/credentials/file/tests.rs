//! Files as mounts and agents leave them: swapped, half-written, missing, and not what was meant.

use std::path::PathBuf;

use super::*;
use crate::config::Config;

/// A directory of its own, removed in the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("redis-tether-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory");
        Directory(path)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("in the directory")).expect("a directory");
        fs::write(&path, text).expect("written");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn read(config: Config) -> Result<(String, String), String> {
    let files = Files::of(Written::at_servers(&config)).expect("it names a file");
    let credentials = files.credentials(Occasion::Dial).await.map_err(|error| error.to_string())?;
    let username = credentials.username().unwrap_or_default().to_owned();
    Ok((username, credentials.password().expose().to_owned()))
}

#[tokio::test]
async fn line_breaks_at_the_end_belong_to_no_secret() {
    let directory = Directory::new("breaks");
    for (text, password) in [("p", "p"), ("p\n", "p"), ("p\r\n", "p"), (" p q ", " p q "), ("a\nb\n", "a\nb")] {
        let file = directory.write("password", text);
        let read = read(Config::default().with_password_file(file)).await;
        assert_eq!(read, Ok((String::new(), password.to_owned())), "{text:?}");
    }
}

/// What Kubernetes does: the files are links into a directory whose name is a link, and that is swapped.
#[cfg(unix)]
#[tokio::test]
async fn a_mount_that_is_swapped_is_read_as_a_whole() {
    use std::os::unix::fs::symlink;

    let directory = Directory::new("mount");
    let swap = |version: &str, username: &str, password: &str| {
        directory.write(&format!("{version}/username"), username);
        directory.write(&format!("{version}/password"), password);
        symlink(version, directory.0.join("fresh")).expect("linked");
        fs::rename(directory.0.join("fresh"), directory.0.join("..data")).expect("swapped");
    };
    swap("..1", "one", "first");
    for name in ["username", "password"] {
        symlink(format!("..data/{name}"), directory.0.join(name)).expect("linked");
    }
    let config = Config::default()
        .with_username_file(directory.0.join("username"))
        .with_password_file(directory.0.join("password"));
    assert_eq!(read(config.clone()).await, Ok(("one".to_owned(), "first".to_owned())));
    swap("..2", "two", "second");
    assert_eq!(read(config).await, Ok(("two".to_owned(), "second".to_owned())));
}

#[tokio::test]
async fn what_is_no_secret_is_an_error_that_names_the_file_and_not_what_it_holds() {
    let directory = Directory::new("nonsense");
    let missing = directory.0.join("missing");
    let cases = [
        (missing, "No such file"),
        (directory.0.clone(), "no file"),
        (directory.write("empty", "\n"), "is empty"),
        (directory.write("binary", b"secret\xff"), "is not UTF-8"),
        (directory.write("large", vec![b's'; 70_000]), "too large"),
    ];
    for (path, problem) in cases {
        let error = read(Config::default().with_password_file(path.clone())).await.expect_err(problem);
        assert!(error.contains(problem) && error.contains(path.to_str().expect("text")), "{error}");
        assert!(error.starts_with("password_file ") && !error.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn a_file_system_that_hangs_has_one_thread() {
    let directory = Directory::new("hangs");
    let config = Config::default().with_password_file(directory.write("password", "p"));
    let files = Files::of(Written::at_servers(&config)).expect("it names a file");
    let held = files.reading.clone().lock_owned().await;
    let error = files.credentials(Occasion::Renewal).await.expect_err("somebody reads already");
    assert!(error.to_string().contains("take long"), "{error}");
    drop(held);
    assert!(files.credentials(Occasion::Renewal).await.is_ok());
}
