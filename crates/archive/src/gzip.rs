//! gzip on all cores: a stream is cut into blocks that are compressed side by side.
//!
//! Each block is a member of gzip (RFC 1952) of its own, and members one after the other are one stream: `gzip -d`, Go, and
//! whatever reads layers with an index take it as such. A block of half a megabyte loses less than one percent by not seeing
//! what was before it. The result depends on the content only: not on the number of cores, nor on the time, so the same layer has the
//! same digest.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use libdeflater::{CompressionLvl, Compressor};

/// Bytes of content in one member.
const BLOCK: usize = 512 << 10;
/// libdeflate's fastest: half to two thirds of the time of zlib's level 2, and fewer bytes (docs/performance.md). Whoever pushes
/// waits for it.
const LEVEL: i32 = 1;
/// Blocks that are under way for each thread.
const AHEAD: usize = 3;

/// Reads `content` to its end and writes it as gzip with the help of up to `threads` threads (at least 1).
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
    block: Vec<u8>,
    done: SyncSender<io::Result<Vec<u8>>>,
}

fn copy(mut content: impl Read, mut out: impl Write, jobs: SyncSender<Job>, ahead: usize) -> io::Result<u64> {
    let mut size = 0_u64;
    let mut under_way: VecDeque<Receiver<io::Result<Vec<u8>>>> = VecDeque::new();
    loop {
        let block = read_block(&mut content)?;
        // An empty stream is one member, too.
        if block.is_empty() && size > 0 {
            break;
        }
        let is_last = block.len() < BLOCK;
        size += u64::try_from(block.len()).unwrap_or(u64::MAX);
        let (done, result) = sync_channel(1);
        jobs.send(Job { block, done })
            .map_err(|_gone| io::Error::other("the compressing threads are gone"))?;
        under_way.push_back(result);
        if is_last {
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
    let mut compressor = CompressionLvl::new(LEVEL).map(Compressor::new).ok();
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let block = match &mut compressor {
            Some(compressor) => compress(compressor, &job.block),
            None => Err(io::Error::other("there is no such level of compression")),
        };
        // Nobody waits for it after an error elsewhere.
        drop(job.done.send(block));
    }
}

/// Returns a block as one member.
fn compress(compressor: &mut Compressor, block: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressed = vec![0; compressor.gzip_compress_bound(block.len())];
    let length = compressor
        .gzip_compress(block, &mut compressed)
        .map_err(|error| io::Error::other(error.to_string()))?;
    compressed.truncate(length);
    Ok(compressed)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn gunzip(bytes: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        flate2::read::MultiGzDecoder::new(bytes)
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
        for length in [0, 1, 100, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 5 * BLOCK + 77] {
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
        let mut compressor = Compressor::new(CompressionLvl::new(LEVEL).unwrap());
        let whole = compress(&mut compressor, &content).unwrap().len();
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
        fn any_content_comes_back(content in prop::collection::vec(0_u8..4, 0..5000)) {
            prop_assert_eq!(gunzip(&gzip(&content, 2)), content);
        }
    }
}
