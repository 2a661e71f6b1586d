//! Huge pages.

use rustix::io::Errno;

use crate::error::LimitError;
use crate::group::Cgroup;
use crate::layout::{Controller, Version};
use crate::limits::HugepageLimit;

impl Cgroup {
    pub(crate) fn apply_hugepages(&self, limits: &[HugepageLimit]) -> Result<(), LimitError> {
        for HugepageLimit { page_size, limit } in limits {
            let files = self.limit_files(Controller::Hugetlb, "huge pages")?;
            if !is_page_size(page_size) {
                return Err(files.bad_value(format!("\"{page_size:.40}\" is not a page size such as 2MB")));
            }
            let (suffix, value) = match files.version {
                Version::V1 => ("limit_in_bytes", limit.to_string()),
                Version::V2 if *limit < 0 => ("max", "max".to_owned()),
                Version::V2 => ("max", limit.to_string()),
            };
            // Reservations fail at mmap, faults with SIGBUS: both are limited where the kernel can (5.7).
            let reserved = format!("hugetlb.{page_size}.rsvd.{suffix}");
            match files.try_set(&reserved, &value) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(source) => return Err(files.error(&reserved, &value, source)),
            }
            files.set(&format!("hugetlb.{page_size}.{suffix}"), &value)?;
        }
        Ok(())
    }
}

/// Page sizes are digits and `KB`, `MB` or `GB`, as the kernel names its files.
fn is_page_size(text: &str) -> bool {
    let digits = text.trim_end_matches(['K', 'M', 'G', 'B']);
    let unit = &text[digits.len()..];
    !digits.is_empty()
        && digits.len() < 10
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && matches!(unit, "KB" | "MB" | "GB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes() {
        for text in ["2MB", "1GB", "64KB"] {
            assert!(is_page_size(text));
        }
        for text in ["", "MB", "2M", "2", "../2MB", "2MBB", "é2MB"] {
            assert!(!is_page_size(text), "{text}");
        }
    }
}
