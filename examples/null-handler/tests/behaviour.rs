//! A handler's tests run natively, without a kernel: this is how they look.

use lunbox_example_null::Null;
use lunbox_harness::Harness;

#[test]
fn reads_zeros_and_forgets_writes() -> Result<(), Box<dyn std::error::Error>> {
    let mut disk = Harness::<Null>::setup(1 << 30).start()?;
    disk.write(0, &[0xff; 4096])?.good()?;
    disk.write_fua(4096, &[0xff; 4096])?.good()?;
    disk.flush()?.good()?;
    assert_eq!(disk.read(0, 8192)?.good()?, vec![0; 8192]);
    disk.unmap(0, 1 << 30)?.good()?;
    disk.write_zeroes(512, 512, false, true)?.good()?;
    assert_eq!(disk.read((1 << 30) - 512, 512)?.good()?, vec![0; 512], "up to the end");
    Ok(())
}
