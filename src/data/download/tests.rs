//! `get` against a tiny server on this machine.

use super::*;
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

pub(super) fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An archive whose paths are written as they are, also those the tar crate would refuse to write.
pub(super) fn tar_gz(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    gz(&tar.into_inner().unwrap())
}

/// How the server treats one request.
#[derive(Clone, Copy)]
enum Reply {
    /// Sends what was asked for.
    Good,
    /// Sends this many bytes of it, then hangs up.
    Cut(usize),
    /// Ignores a range and sends everything.
    Everything,
    Status(u16),
}

/// Serves `content` under every path; `replies` in turn, the last one for all that follow.
struct Server {
    address: String,
    /// The `range` header of every request, empty where there was none.
    ranges: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(content: &[u8], replies: &[Reply]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/sets/", listener.local_addr().unwrap());
        let ranges = Arc::new(Mutex::new(Vec::new()));
        let (content, replies, seen) = (content.to_vec(), replies.to_vec(), ranges.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut seen = seen.lock().unwrap();
                let reply = replies[seen.len().min(replies.len() - 1)];
                seen.push(answer(stream.unwrap(), &content, reply));
            }
        });
        Server { address, ranges }
    }

    fn ranges(&self) -> Vec<String> {
        self.ranges.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, content: &[u8], reply: Reply) -> String {
    let mut range = String::new();
    for line in BufReader::new(stream.try_clone().unwrap()).lines() {
        let line = line.unwrap().to_lowercase();
        if let Some(value) = line.strip_prefix("range: bytes=") {
            range = value.to_owned();
        }
        if line.is_empty() {
            break;
        }
    }
    let asked: Option<usize> = range.strip_suffix('-').and_then(|from| from.parse().ok());
    let (from, send) = match (reply, asked) {
        (Reply::Status(status), _) => {
            write!(stream, "HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            return range;
        }
        (Reply::Everything, _) | (Reply::Good, None) => (None, content.len()),
        (Reply::Good, Some(from)) => (Some(from), content.len() - from),
        (Reply::Cut(n), from) => (from, n),
    };
    let body = &content[from.unwrap_or(0)..];
    let head = match from {
        Some(from) => {
            format!("206 Partial Content\r\ncontent-range: bytes {from}-{}/{}", content.len() - 1, content.len())
        }
        None => "200 OK".to_owned(),
    };
    write!(stream, "HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len()).unwrap();
    stream.write_all(&body[..send.min(body.len())]).unwrap();
    range
}

fn hex(bytes: &[u8]) -> &'static str {
    let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    digest.leak()
}

/// A set of one file `some.bin` with this content.
fn plain(content: &[u8]) -> RemoteSet {
    let file = RemoteFile { name: "some.bin", size: content.len() as u64, sha256: hex(content) };
    RemoteSet {
        name: "some",
        what: "a test",
        folder: "some",
        addresses: &[],
        files: Vec::leak(vec![file]),
        form: Form::Plain,
    }
}

fn packed(archive: &[u8], contents: &'static [(&'static str, u64)]) -> RemoteSet {
    RemoteSet { form: Form::Packed { top: "top", contents }, folder: "top", ..plain(archive) }
}

fn fetch(set: &RemoteSet, root: &TempDir, mirror: &str) -> Result<PathBuf> {
    let bar = ProgressBar::hidden();
    get_set(set, root.path(), Some(mirror), &Fetcher::new(Duration::from_millis(1), &bar))
}

fn fails(set: &RemoteSet, root: &TempDir, mirror: &str) -> String {
    format!("{:#}", fetch(set, root, mirror).unwrap_err())
}

fn check(set: &RemoteSet, root: &TempDir) -> Vec<State> {
    let status = verify_set(set, root.path(), &ProgressBar::hidden()).unwrap();
    status.into_iter().map(|file| file.state).collect()
}

fn content() -> Vec<u8> {
    (0..200_000u64).map(|i| (i * i % 251) as u8).collect()
}

#[test]
fn a_good_file_lands_once() {
    let (root, content) = (TempDir::new().unwrap(), content());
    let (set, server) = (plain(&content), Server::new(&content, &[Reply::Good]));
    assert_eq!(check(&set, &root), [State::Missing]);
    let folder = fetch(&set, &root, &server.address).unwrap();
    assert_eq!(std::fs::read(folder.join("some.bin")).unwrap(), content);
    assert!(!folder.join(".some.bin.part").exists());
    assert_eq!(check(&set, &root), [State::Good]);
    fetch(&set, &root, &server.address).unwrap();
    assert_eq!(server.ranges(), [""]);
}

#[test]
fn a_cut_connection_is_resumed_where_it_stopped() {
    let (root, content) = (TempDir::new().unwrap(), content());
    let server = Server::new(&content, &[Reply::Cut(50_000), Reply::Cut(30_000), Reply::Status(503), Reply::Good]);
    let folder = fetch(&plain(&content), &root, &server.address).unwrap();
    assert_eq!(std::fs::read(folder.join("some.bin")).unwrap(), content);
    assert_eq!(server.ranges(), ["", "50000-", "80000-", "80000-"]);
}

#[test]
fn a_later_call_goes_on_with_what_an_earlier_one_received() {
    let (root, content) = (TempDir::new().unwrap(), content());
    let set = plain(&content);
    let broken = Server::new(&content, &[Reply::Cut(60_000), Reply::Cut(0)]);
    assert!(fails(&set, &root, &broken.address).contains("after 60000 of the 200000 bytes"));
    assert_eq!(broken.ranges().len(), 4, "one try and three more");
    assert_eq!(check(&set, &root), [State::Missing]);
    let server = Server::new(&content, &[Reply::Good]);
    fetch(&set, &root, &server.address).unwrap();
    assert_eq!(server.ranges(), ["60000-"]);
    assert_eq!(check(&set, &root), [State::Good]);
}

#[test]
fn servers_without_ranges_and_stale_parts_are_begun_anew() {
    let content = content();
    for (part, reply) in
        [(&content[..70_000], Reply::Everything), (&[9; 70_000], Reply::Good), (&[9; 200_000], Reply::Good)]
    {
        let root = TempDir::new().unwrap();
        std::fs::create_dir(root.path().join("some")).unwrap();
        std::fs::write(root.path().join("some/.some.bin.part"), part).unwrap();
        let server = Server::new(&content, &[reply]);
        let folder = fetch(&plain(&content), &root, &server.address).unwrap();
        assert_eq!(std::fs::read(folder.join("some.bin")).unwrap(), content);
    }
}

#[test]
fn wrong_bytes_are_refused() {
    let (root, content) = (TempDir::new().unwrap(), content());
    let set = plain(&content);
    let mut wrong = content.clone();
    wrong[1234] ^= 1;
    let server = Server::new(&wrong, &[Reply::Good]);
    let message = fails(&set, &root, &server.address);
    assert!(message.contains(hex(&wrong)) && message.contains(hex(&content)), "{message}");
    assert_eq!(server.ranges().len(), 1, "the same wrong bytes are not asked for again");
    let longer = Server::new(&[&content[..], &[0]].concat(), &[Reply::Good]);
    assert!(fails(&set, &root, &longer.address).contains("longer than the published 200000 bytes"));
    let nowhere = Server::new(&content, &[Reply::Status(404)]);
    assert!(fails(&set, &root, &nowhere.address).contains("404"));
    assert_eq!(nowhere.ranges().len(), 1, "what does not exist is not asked for again");
    assert_eq!(check(&set, &root), [State::Missing]);
}

#[test]
fn a_mirror_may_be_a_folder() {
    let (root, mirror, content) = (TempDir::new().unwrap(), TempDir::new().unwrap(), content());
    let set = plain(&content);
    let path = mirror.path().to_str().unwrap();
    assert!(fails(&set, &root, path).contains("some.bin"));
    std::fs::write(mirror.path().join("some.bin"), "short").unwrap();
    assert!(fails(&set, &root, path).contains("it has 5 bytes, the published file has 200000"));
    std::fs::write(mirror.path().join("some.bin"), &content).unwrap();
    fetch(&set, &root, &format!("file://{path}")).unwrap();
    assert_eq!(check(&set, &root), [State::Good]);
}

#[test]
fn other_files_of_that_name_are_left_alone() {
    let (root, content) = (TempDir::new().unwrap(), content());
    let (set, place) = (plain(&content), root.path().join("some/some.bin"));
    std::fs::create_dir(root.path().join("some")).unwrap();
    std::fs::write(&place, "mine").unwrap();
    assert!(fails(&set, &root, "nowhere").contains("is in the way: it has 4 bytes"));
    assert_eq!(std::fs::read(&place).unwrap(), b"mine");
    std::fs::write(&place, vec![0; content.len()]).unwrap();
    assert!(matches!(&check(&set, &root)[..], [State::Bad(why)] if why.contains("SHA-256")));
}

#[test]
fn a_folder_in_use_is_not_fetched_into() {
    let (root, content) = (TempDir::new().unwrap(), content());
    std::fs::create_dir(root.path().join("some")).unwrap();
    let _held = lock(&root.path().join("some")).unwrap();
    assert!(fails(&plain(&content), &root, "nowhere").contains("another reglab"));
}

#[test]
fn an_archive_is_unpacked_and_its_files_can_be_verified() {
    let root = TempDir::new().unwrap();
    let archive = tar_gz(&[("top/a.bin", b"one"), ("top/readme.html", b"hello"), ("top/b.bin", b"four")]);
    let (set, server) = (packed(&archive, &[("a.bin", 3), ("b.bin", 4)]), Server::new(&archive, &[Reply::Good]));
    let folder = fetch(&set, &root, &server.address).unwrap();
    assert_eq!(std::fs::read(folder.join("b.bin")).unwrap(), b"four");
    assert_eq!(check(&set, &root), [State::Good, State::Good]);
    assert!(!folder.join("some.bin").exists() && !folder.join(".unpacking").exists());
    std::fs::write(folder.join("a.bin"), "two").unwrap();
    assert!(matches!(&check(&set, &root)[0], State::Bad(_)));
    std::fs::remove_file(folder.join("a.bin")).unwrap();
    fetch(&set, &root, &server.address).unwrap();
    assert_eq!(check(&set, &root), [State::Good, State::Good]);
    std::fs::remove_file(folder.join("SHA256SUMS")).unwrap();
    assert!(matches!(&check(&set, &root)[..], [State::Unchecked(_), State::Unchecked(_)]));
}

#[test]
fn a_tree_is_unpacked_whole_and_verified_file_by_file() {
    let root = TempDir::new().unwrap();
    let archive = tar_gz(&[("top/train/a.png", b"one"), ("top/train/b.png", b"two"), ("top/names.txt", b"n")]);
    let tree = |needs| Tree { top: "top", needs, entries: 10, bytes: 100 };
    let set = RemoteSet { form: Form::Tree(tree(&["train", "names.txt"])), ..plain(&archive) };
    let server = Server::new(&archive, &[Reply::Good]);
    let folder = fetch(&set, &root, &server.address).unwrap();
    assert_eq!(std::fs::read(folder.join("train/b.png")).unwrap(), b"two");
    assert_eq!(check(&set, &root), [State::Good, State::Good]);
    std::fs::write(folder.join("train/b.png"), "2").unwrap();
    assert!(matches!(&check(&set, &root)[..], [State::Bad(_), State::Good, State::Good]));
    assert!(fails(&set, &root, &server.address).contains("is in the way"));
    let lacking = RemoteSet { form: Form::Tree(tree(&["val"])), folder: "other", ..plain(&archive) };
    assert!(fails(&lacking, &root, &server.address).contains("holds no top/val"));
    // A folder of the user's own is not replaced.
    std::fs::create_dir_all(root.path().join("mine/train")).unwrap();
    let mine = RemoteSet { form: Form::Tree(tree(&["train/a.png"])), folder: "mine", ..plain(&archive) };
    assert!(fails(&mine, &root, &server.address).contains("was not unpacked: a folder of that name was there before"));
}

#[test]
fn an_archive_that_leads_elsewhere_or_lacks_files_is_refused() {
    for (files, why) in [
        (&[("top/a.bin", &b"one"[..]), ("top/../../evil", b"x")][..], "does not stay below top"),
        (&[("top/b.bin", b"one")], "holds no top/a.bin of 3 bytes"),
    ] {
        let root = TempDir::new().unwrap();
        let archive = tar_gz(files);
        let (set, server) = (packed(&archive, &[("a.bin", 3)]), Server::new(&archive, &[Reply::Good]));
        let message = fails(&set, &root, &server.address);
        assert!(message.contains(why), "{message}");
        assert_eq!(check(&set, &root), [State::Missing]);
        assert!(!root.path().join("evil").exists() && !root.path().join("top/.unpacking").exists());
    }
}

#[test]
fn the_list_tells_what_is_there() {
    let root = TempDir::new().unwrap();
    let present = |name: &str| list(root.path()).into_iter().find(|row| row.name == name).unwrap().present;
    assert!(present("digits") && !present("mnist") && !present("cifar100"));
    std::fs::create_dir(root.path().join("cifar-100-binary")).unwrap();
    std::fs::create_dir(root.path().join("mnist")).unwrap();
    for file in ["cifar-100-binary/train.bin", "cifar-100-binary/test.bin"] {
        std::fs::write(root.path().join(file), "").unwrap();
    }
    for (part, end) in [("train", ""), ("t10k", ".gz")] {
        for kind in ["images-idx3", "labels-idx1"] {
            std::fs::write(root.path().join(format!("mnist/{part}-{kind}-ubyte{end}")), "").unwrap();
        }
    }
    assert!(present("cifar100") && present("mnist"));
    let status = verify("mnist", root.path(), &ProgressBar::hidden()).unwrap();
    assert!(matches!(&status[0].state, State::Unchecked(_)) && matches!(&status[2].state, State::Bad(_)));
}
