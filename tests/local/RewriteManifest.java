package org.apache.iceberg;

import java.io.File;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.iceberg.io.FileIO;
import org.apache.iceberg.io.InputFile;
import org.apache.iceberg.io.OutputFile;
import org.apache.iceberg.types.Types;

/**
 * Rewrites a manifest of {@code bench_iceberg.py} with Iceberg's own library, several times in one process: each entry is
 * read, its file copied with another path, and written. Prints the seconds of processor time of each time.
 *
 * <p>RewriteManifest MANIFEST OUTPUT TIMES COLUMNS ENTRIES SOURCE TARGET
 */
public class RewriteManifest {
  private static final FileIO LOCAL = new FileIO() {
    @Override
    public InputFile newInputFile(String path) {
      return Files.localInput(path);
    }

    @Override
    public OutputFile newOutputFile(String path) {
      return Files.localOutput(path);
    }

    @Override
    public void deleteFile(String path) {
      new File(path).delete();
    }
  };

  public static void main(String[] arguments) throws Exception {
    String manifest = arguments[0], output = arguments[1], source = arguments[5], target = arguments[6];
    int columns = Integer.parseInt(arguments[3]), entries = Integer.parseInt(arguments[4]);
    List<Types.NestedField> fields = new ArrayList<>();
    for (int id = 1; id <= columns; id++) {
      fields.add(Types.NestedField.optional(id, "c" + id, id % 2 == 1 ? Types.LongType.get() : Types.StringType.get()));
    }
    fields.add(Types.NestedField.optional(columns + 1, "dt", Types.StringType.get()));
    PartitionSpec spec = PartitionSpec.builderFor(new Schema(fields)).identity("dt").build();
    ManifestFile listed = new GenericManifestFile(manifest, new File(manifest).length(), 0, ManifestContent.DATA, 1L, 1L, 1L,
        entries, 1L, 0, 0L, 0, 0L, null, null);
    var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    for (int time = 0; time < Integer.parseInt(arguments[2]); time++) {
      long started = system.getProcessCpuTime();
      new File(output).delete();
      try (ManifestReader<DataFile> reader = ManifestFiles.read(listed, LOCAL, Map.of(0, spec));
          ManifestWriter<DataFile> writer = ManifestFiles.write(2, spec, Files.localOutput(output), 1L)) {
        for (ManifestEntry<DataFile> entry : reader.entries()) {
          String path = entry.file().path().toString();
          if (!path.startsWith(source)) {
            throw new IllegalArgumentException(path);
          }
          writer.add(DataFiles.builder(spec).copy(entry.file()).withPath(target + path.substring(source.length())).build());
        }
      }
      System.out.println((system.getProcessCpuTime() - started) / 1e9);
    }
  }
}
