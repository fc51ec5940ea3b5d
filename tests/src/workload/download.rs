//! A long download over one connection, whose bytes both ends know.

use std::{
    hash::{DefaultHasher, Hasher},
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::http;
use crate::lab::Namespace;

/// Bytes that are made, sent, received and hashed at a time.
const BLOCK: usize = 65_536;

/// How long the server may leave the client without a byte.
const STALL: Duration = Duration::from_secs(10);

/// Where the client pauses between blocks until it is told to hurry: 2 MiB/s.
const PACE: Duration = Duration::from_millis(31);

/// A download that goes on in the background.
#[derive(Debug)]
pub struct Download {
    length: u64,
    received: Arc<AtomicU64>,
    hurry: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<u64>>,
}

/// How a download ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Downloaded {
    /// Bytes received.
    pub bytes: u64,
    /// It broke off, or its bytes are not those that were sent.
    pub interrupted: bool,
}

impl Download {
    /// Starts to download `length` bytes from `target`, a multiple of the block's length.
    ///
    /// # Errors
    ///
    /// If the connection cannot be made or the server does not answer 200.
    pub fn start(namespace: &Namespace, target: SocketAddr, length: u64) -> Result<Self> {
        let block = u64::try_from(BLOCK)?;
        ensure!(length.is_multiple_of(block), "the length must be a multiple of {block}");
        let stream = namespace
            .enter(|| connect(target, length))?
            .with_context(|| format!("start the download from {target}"))?;
        let (received, hurry) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (count, hurried) = (Arc::clone(&received), Arc::clone(&hurry));
        let thread = thread::spawn(move || receive(stream, length, &count, &hurried));
        Ok(Self { length, received, hurry, thread })
    }

    /// Bytes received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Fetches the rest as fast as it comes and compares the hashes.
    ///
    /// # Errors
    ///
    /// If the thread panicked; a broken download is [`Downloaded::interrupted`].
    pub fn finish(self) -> Result<Downloaded> {
        self.hurry.store(true, Ordering::Relaxed);
        let Ok(hash) = self.thread.join() else { bail!("the download panicked") };
        let bytes = self.received.load(Ordering::Relaxed);
        let whole = hash.is_ok_and(|hash| hash == expected_hash(self.length));
        Ok(Downloaded { bytes, interrupted: !whole || bytes != self.length })
    }
}

/// The length that a path asks for: `/download?bytes=N`.
#[must_use]
pub fn asked_for(path: &str) -> Option<u64> {
    path.strip_prefix("/download?bytes=")?.parse().ok()
}

/// Sends `length` bytes, and closes once the client has them.
///
/// # Errors
///
/// What the system says.
pub fn send(stream: &mut TcpStream, length: u64) -> io::Result<()> {
    let mut pattern = Pattern::default();
    let mut left = length;
    while left > 0 {
        let block = pattern.next_block();
        let take = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        stream.write_all(block.get(..take).unwrap_or_default())?;
        left = left.saturating_sub(u64::try_from(take).unwrap_or(left));
    }
    Ok(())
}

fn connect(target: SocketAddr, length: u64) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&target, STALL)?;
    let path = format!("/download?bytes={length}");
    stream.write_all(http::request(target, &path).as_bytes())?;
    // Byte by byte: what follows the head belongs to the first block.
    let mut head = Vec::new();
    let mut byte = [0];
    stream.set_read_timeout(Some(STALL))?;
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    match http::status(&String::from_utf8_lossy(&head))? {
        200 => Ok(stream),
        other => Err(io::Error::other(format!("the server answered {other}"))),
    }
}

fn receive(
    mut stream: TcpStream,
    length: u64,
    received: &AtomicU64,
    hurry: &AtomicBool,
) -> io::Result<u64> {
    let mut hash = DefaultHasher::new();
    let mut block = vec![0; BLOCK];
    let step = u64::try_from(BLOCK).unwrap_or(u64::MAX);
    let mut due = Instant::now();
    while received.load(Ordering::Relaxed) < length {
        stream.read_exact(&mut block)?;
        hash.write(&block);
        received.fetch_add(step, Ordering::Relaxed);
        due += PACE;
        if !hurry.load(Ordering::Relaxed) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    Ok(hash.finish())
}

fn expected_hash(length: u64) -> u64 {
    let mut pattern = Pattern::default();
    let mut hash = DefaultHasher::new();
    for _ in 0..length / u64::try_from(BLOCK).unwrap_or(u64::MAX) {
        hash.write(pattern.next_block());
    }
    hash.finish()
}

/// Blocks of bytes that look random; each carries its number, so that none equals another.
struct Pattern {
    block: Vec<u8>,
    number: u64,
}

impl Default for Pattern {
    fn default() -> Self {
        let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
        let words = std::iter::repeat_with(|| {
            // Marsaglia's xorshift64.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        Self { block: words.take(BLOCK / 8).flatten().collect(), number: 0 }
    }
}

impl Pattern {
    fn next_block(&mut self) -> &[u8] {
        for (byte, number) in self.block.iter_mut().zip(self.number.to_le_bytes()) {
            *byte = number;
        }
        self.number = self.number.wrapping_add(1);
        &self.block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_block_changes_the_hash() {
        let (mut pattern, mut hash) = (Pattern::default(), DefaultHasher::new());
        hash.write(pattern.next_block());
        let second = pattern.next_block().to_vec();
        hash.write(&second);
        assert_eq!(hash.finish(), expected_hash(131_072));

        let (mut pattern, mut hash) = (Pattern::default(), DefaultHasher::new());
        let first = pattern.next_block().to_vec();
        hash.write(&first);
        hash.write(&first);
        assert_ne!(hash.finish(), expected_hash(131_072));
    }

    #[test]
    fn only_a_whole_question_asks_for_bytes() {
        assert_eq!(asked_for("/download?bytes=12"), Some(12));
        assert_eq!(asked_for("/download?bytes=x"), None);
        assert_eq!(asked_for("/"), None);
    }
}
