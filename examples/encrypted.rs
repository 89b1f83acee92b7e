//! Values that nobody can read or change where they are stored: a codec of one's own around another.
//!
//! `cargo run --example encrypted` stores a value in files, looks for it there, tampers with it,
//! checks what it promises, and exits with 1 if a promise did not hold.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use advanced_caching::DirStore;
use advanced_caching::store::{Codec, CodecError, Json, envelope};
use advanced_caching::sync::{BuildError, Cache};
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

const NONCE: usize = 24;

/// Encrypts what another codec writes, with XChaCha20-Poly1305 (RFC 8439, with the longer nonce of
/// draft-irtf-cfrg-xchacha). Each value has a nonce of its own, chosen at random: of 24 bytes no two
/// are ever the same.
///
/// A codec does not see the key of an entry. Who can write to the store cannot read or alter a value,
/// but can put one entry's value, or an older one, in the place of another's. Where that matters,
/// keep the entry's key in the value.
struct Encrypted<C> {
    inner: C,
    cipher: XChaCha20Poly1305,
}

impl<C> Encrypted<C> {
    fn new(inner: C, key: [u8; 32]) -> Self {
        Self { inner, cipher: XChaCha20Poly1305::new(&Key::from(key)) }
    }
}

impl<V, C: Codec<V>> Codec<V> for Encrypted<C> {
    /// The highest bit says that this codec is not the library's, the others what is inside.
    const ID: u8 = 128 | C::ID;

    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let mut plain = vec![];
        self.inner.encode(value, &mut plain)?;
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce)?;
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), &plain[..]);
        out.extend_from_slice(&nonce);
        out.extend(sealed.map_err(|_| "it is too long to encrypt")?);
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>().ok_or("it has no nonce")?;
        let plain = self.cipher.decrypt(&XNonce::from(*nonce), sealed);
        self.inner.decode(&plain.map_err(|_| "it was not encrypted with this key, or was changed")?)
    }
}

/// A value of several fields.
type Patient = (String, u16);
type Files<C> = Arc<DirStore<Patient, C>>;

const SECRET: &str = "Ada Lovelace";

fn patient() -> Patient {
    (SECRET.into(), 1815)
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the example could not go on: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, CodecError> {
    let (folder, mut promises) = (Folder::create()?, Promises(true));
    // A real program reads it from where it keeps its secrets.
    let mut key = [0; 32];
    getrandom::fill(&mut key)?;
    let open = |key| Arc::new(DirStore::new(&folder.0, Encrypted::new(Json, key)));

    println!("One value is loaded, and put in a file");
    cache(open(key))?.put(7, patient());
    let (file, first) = only_file(&folder.0)?;
    promises.check("the file does not hold the name", !holds(&first, SECRET));
    promises.check("which it would without encryption", holds(&unencrypted()?, SECRET));
    cache(open(key))?.put(7, patient());
    let (_, second) = only_file(&folder.0)?;
    promises.check("the same value is never stored as the same bytes", first != second);

    println!("\nA restart, with the same key");
    let files = open(key);
    let found = cache(files.clone())?.get_or_load(&7, unused)?;
    promises.check("the value is read from the file", found == patient());

    println!("\nSomebody changes one bit, and mends the checksum of the entry");
    std::fs::write(&file, tampered(&second)?)?;
    let found = cache(files.clone())?.get_or_load(&7, || Ok::<_, io::Error>(patient()))?;
    promises.check("it is not believed, and the origin is asked", found == patient());
    promises.check("and it was counted", files.stats().corrupt == 1);

    println!("\nAnother key");
    std::fs::write(&file, &second)?;
    let others = open([1; 32]);
    let found = cache(others.clone())?.get_or_load(&7, unused);
    promises.check("who has another key finds nothing", found.is_err());
    promises.check("and it was counted", others.stats().corrupt == 1);
    let plain = Arc::new(DirStore::new(&folder.0, Json));
    let found = cache(plain.clone())?.get_or_load(&7, unused);
    promises.check("who does not decrypt does not take it for JSON", found.is_err());
    promises.check("but for what is foreign", plain.stats().foreign == 1);
    Ok(promises.0)
}

/// A cache with nothing in memory yet.
fn cache<C>(files: Files<C>) -> Result<Cache<u32, Patient>, BuildError>
where
    C: Codec<Patient> + Send + Sync + 'static,
{
    Cache::builder().capacity(100).ttl(Duration::from_secs(600)).l2(files).build()
}

/// An origin that must not be asked.
fn unused() -> io::Result<Patient> {
    Err(io::Error::other("the origin was asked"))
}

fn unencrypted() -> Result<Vec<u8>, CodecError> {
    let mut bytes = vec![];
    Json.encode(&patient(), &mut bytes)?;
    Ok(bytes)
}

/// The entry with the last bit of its value changed, and a checksum that fits.
fn tampered(entry: &[u8]) -> Result<Vec<u8>, CodecError> {
    let found = envelope::decode(entry)?;
    let mut value = found.value.to_vec();
    *value.last_mut().ok_or("it is empty")? ^= 1;
    let mut bytes = vec![];
    let write = |out: &mut Vec<u8>| {
        out.extend(value);
        Ok::<(), CodecError>(())
    };
    let tags: Vec<_> = found.tags.iter().collect();
    envelope::encode(&found.header, (found.key, &tags), write, &mut bytes)
        .map_err(|_| "it cannot be written")?;
    Ok(bytes)
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// The file of the only entry, and what is in it.
fn only_file(folder: &Path) -> io::Result<(PathBuf, Vec<u8>)> {
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let inside = std::fs::read_dir(path)?;
            waiting.extend(inside.filter_map(|file| Some(file.ok()?.path())));
        } else if path.file_name().is_some_and(|name| name != "lock") {
            return std::fs::read(&path).map(|bytes| (path, bytes));
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Whether all that was checked has held.
struct Promises(bool);

impl Promises {
    fn check(&mut self, claim: &str, held: bool) {
        println!("{} {claim}", if held { "✓" } else { "✗" });
        self.0 &= held;
    }
}

/// A temporary folder, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn create() -> io::Result<Self> {
        let name = format!("advanced-caching-encrypted-{}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        // What a run that was killed may have left, if it had the same number.
        let _ = std::fs::remove_dir_all(&folder.0);
        std::fs::create_dir_all(&folder.0).map(|()| folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
