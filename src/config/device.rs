//! Where a model runs, as a key holds it: the device, and how much of its memory.

use super::setting::{Bytes, Raw, Setting};
use crate::model::Device;

impl Setting for Device {
    const RULE: &'static str = "\"cpu\" or \"cuda:N\", N from 0 to 63";

    fn read(value: &Raw) -> Option<Self> {
        Self::parse(value.text()?)
    }

    fn print(&self) -> String {
        format!("\"{self}\"")
    }
}

impl Setting for Option<Bytes> {
    const RULE: &'static str = "a size such as \"512 MiB\" or \"2 GiB\", or \"\" for no limit";

    fn read(value: &Raw) -> Option<Self> {
        if value.text() == Some("") { Some(None) } else { Bytes::read(value).filter(|bytes| bytes.0 > 0).map(Some) }
    }

    fn print(&self) -> String {
        self.as_ref().map_or_else(|| "\"\"".to_owned(), Setting::print)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[test]
    fn devices_and_their_memory_are_read_and_printed_back() {
        let device = Device::read(&text("cuda:1")).unwrap();
        assert_eq!((device, device.print().as_str()), (Device::Cuda(1), "\"cuda:1\""));
        assert!(Device::read(&text("cuda")).is_none() && Device::read(&Raw::Integer(0)).is_none());
        for (written, bytes) in [("", None), ("2 GiB", Some(Bytes(2 << 30)))] {
            let read = <Option<Bytes>>::read(&text(written)).unwrap();
            assert_eq!((read, read.print()), (bytes, format!("\"{written}\"")));
        }
        assert!(<Option<Bytes>>::read(&text("0 B")).is_none() && <Option<Bytes>>::read(&text("2 GB")).is_none());
    }
}
