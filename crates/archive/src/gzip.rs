//! gzip on all cores: a stream is cut into blocks that are compressed side by side.
//!
//! Each block is raw deflate (RFC 1951) that ends at a byte boundary with an empty stored block, and knows the last
//! 32 KiB before it as its dictionary, so that cutting costs next to nothing. Put one after the other they are one
//! deflate stream, and with a head and a trailer one member of gzip (RFC 1952) that every reader understands. The result
//! depends on the content only: not on the number of cores, nor on the time, so the same layer has the same digest.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// Bytes of content in one block.
const BLOCK: usize = 256 << 10;
/// Bytes before a block that it may refer to: the window of deflate.
const DICTIONARY: usize = 32 << 10;
/// Half the processor time of level 6, which gzip, Go and docker use, for 4 to 6 % more bytes of a Debian image: whoever pushes
/// waits for it.
const LEVEL: u32 = 2;
/// The head of the member: deflate, no name, no time, an unknown system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// Blocks that are under way for each thread.
const AHEAD: usize = 3;

/// Reads `content` to its end and writes it as one gzip member with the help of up to `threads` threads (at least 1).
///
/// Returns how many bytes were read. The error is that of the reader or the writer.
pub fn compress_gzip(content: impl Read, out: impl Write, threads: usize) -> io::Result<u64> {
    let threads = threads.max(1);
    let (jobs, queue) = sync_channel::<Job>(threads * AHEAD);
    let queue = Arc::new(Mutex::new(queue));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new().spawn_scoped(scope, move || work(&queue))?;
        }
        // The workers end when `jobs` is dropped with this call, also by an error.
        copy(content, out, jobs, threads * AHEAD)
    })
}

/// One block on its way through a worker.
struct Job {
    /// The end of the content before the block.
    dictionary: Vec<u8>,
    block: Vec<u8>,
    /// Whether the stream ends with this block.
    last: bool,
    done: SyncSender<io::Result<Vec<u8>>>,
}

fn copy(mut content: impl Read, mut out: impl Write, jobs: SyncSender<Job>, ahead: usize) -> io::Result<u64> {
    out.write_all(&HEAD)?;
    let (mut sum, mut size) = (Crc::new(), 0_u64);
    let mut under_way: VecDeque<Receiver<io::Result<Vec<u8>>>> = VecDeque::new();
    let mut dictionary = Vec::new();
    let mut block = read_block(&mut content)?;
    loop {
        // A block is only known to be the last when nothing follows it.
        let next = if block.len() < BLOCK {
            Vec::new()
        } else {
            read_block(&mut content)?
        };
        let last = next.is_empty();
        sum.update(&block);
        size += u64::try_from(block.len()).unwrap_or(u64::MAX);
        let tail = block[block.len().saturating_sub(DICTIONARY)..].to_vec();
        let (done, result) = sync_channel(1);
        let job = Job {
            dictionary: std::mem::replace(&mut dictionary, tail),
            block: std::mem::replace(&mut block, next),
            last,
            done,
        };
        jobs.send(job)
            .map_err(|_gone| io::Error::other("the compressing threads are gone"))?;
        under_way.push_back(result);
        if last {
            break;
        }
        if under_way.len() >= ahead {
            write_oldest(&mut under_way, &mut out)?;
        }
    }
    drop(jobs);
    while !under_way.is_empty() {
        write_oldest(&mut under_way, &mut out)?;
    }
    out.write_all(&sum.sum().to_le_bytes())?;
    out.write_all(&sum.amount().to_le_bytes())?;
    out.flush()?;
    Ok(size)
}

fn write_oldest(
    under_way: &mut VecDeque<Receiver<io::Result<Vec<u8>>>>,
    out: &mut impl Write,
) -> io::Result<()> {
    let Some(oldest) = under_way.pop_front() else {
        return Ok(());
    };
    let block = oldest
        .recv()
        .map_err(|_gone| io::Error::other("a compressing thread is gone"))?;
    out.write_all(&block?)
}

fn read_block(content: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut block = Vec::with_capacity(BLOCK);
    let limit = u64::try_from(BLOCK).unwrap_or(u64::MAX);
    content.by_ref().take(limit).read_to_end(&mut block)?;
    Ok(block)
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let block = compress(&job.dictionary, &job.block, job.last);
        // Nobody waits for it after an error elsewhere.
        drop(job.done.send(block));
    }
}

/// Returns a block as raw deflate: ended with the stream, or at a byte boundary.
fn compress(dictionary: &[u8], block: &[u8], last: bool) -> io::Result<Vec<u8>> {
    let mut state = Compress::new(Compression::new(LEVEL), false);
    if !dictionary.is_empty() {
        state.set_dictionary(dictionary)?;
    }
    let flush = if last {
        FlushCompress::Finish
    } else {
        FlushCompress::Sync
    };
    // What cannot be compressed grows by 5 bytes for each 64 KiB at most.
    let mut compressed = Vec::with_capacity(block.len() + block.len() / 1024 + 64);
    loop {
        let taken = usize::try_from(state.total_in()).unwrap_or(block.len());
        let status = state.compress_vec(&block[taken..], &mut compressed, flush)?;
        let all_taken = state.total_in() == u64::try_from(block.len()).unwrap_or(u64::MAX);
        match status {
            Status::StreamEnd => return Ok(compressed),
            // Room left over says that the flush is complete.
            Status::Ok if all_taken && !last && compressed.len() < compressed.capacity() => {
                return Ok(compressed);
            }
            Status::Ok | Status::BufError => compressed.reserve(64 << 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn gunzip(bytes: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        // One member: a reader that stops after the first sees everything.
        flate2::read::GzDecoder::new(bytes)
            .read_to_end(&mut content)
            .unwrap();
        content
    }

    fn gzip(content: &[u8], threads: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let size = compress_gzip(content, &mut out, threads).unwrap();
        assert_eq!(size, content.len() as u64);
        out
    }

    /// Half words that repeat far apart, half noise.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state
        };
        let mut content = Vec::with_capacity(length + 16);
        while content.len() < length {
            let number = noise();
            if number % 3 == 0 {
                content.extend_from_slice(&number.to_le_bytes());
            } else {
                content.extend_from_slice(format!("word {} ", (number >> 8) % 500).as_bytes());
            }
        }
        content.truncate(length);
        content
    }

    #[test]
    fn every_length_comes_back() {
        for length in [
            0,
            1,
            100,
            DICTIONARY,
            BLOCK - 1,
            BLOCK,
            BLOCK + 1,
            2 * BLOCK,
            5 * BLOCK + 77,
        ] {
            let content = sample(length);
            let one = gzip(&content, 1);
            assert!(gunzip(&one) == content, "{length} bytes");
            assert!(
                one == gzip(&content, 4),
                "{length} bytes: the number of threads shows"
            );
        }
    }

    #[test]
    fn cutting_costs_little() {
        let content = sample(4 << 20);
        let mut whole = flate2::write::GzEncoder::new(Vec::new(), Compression::new(LEVEL));
        whole.write_all(&content).unwrap();
        let whole = whole.finish().unwrap().len();
        let cut = gzip(&content, 2).len();
        assert!(cut < whole + whole / 50, "{cut} bytes instead of {whole}");
    }

    #[test]
    fn noise_hardly_grows() {
        let mut state = 7_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(3 * BLOCK + 5)
        .collect();
        let compressed = gzip(&noise, 2);
        assert!(gunzip(&compressed) == noise);
        assert!(compressed.len() < noise.len() + noise.len() / 500);
    }

    #[test]
    fn both_ends_may_fail() {
        struct Broken(usize);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                match self.0.checked_sub(buffer.len()) {
                    None => Err(io::Error::other("no more")),
                    Some(left) => {
                        self.0 = left;
                        Ok(buffer.len())
                    }
                }
            }
        }
        impl Write for Broken {
            fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
                match self.0.checked_sub(buffer.len()) {
                    None => Err(io::Error::other("full")),
                    Some(left) => {
                        self.0 = left;
                        Ok(buffer.len())
                    }
                }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for size in [0, 5, BLOCK * 3] {
            assert!(compress_gzip(Broken(size), io::sink(), 2).is_err());
            assert!(compress_gzip(&sample(20 * BLOCK)[..], Broken(size), 2).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_block_comes_back_after_any_other(before in prop::collection::vec(any::<u8>(), 0..2000), content in prop::collection::vec(0_u8..4, 0..5000)) {
            let mut stream = compress(&[], &before, false).unwrap();
            stream.extend(compress(&before, &content, true).unwrap());
            let mut read = Vec::new();
            flate2::read::DeflateDecoder::new(&stream[..]).read_to_end(&mut read).unwrap();
            prop_assert_eq!(read, [before, content].concat());
        }
    }
}
