import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.utils.internals.ByteBufferOutputStream;

/** Wrote the vectors named after a codec and a text: java -cp 'KAFKA/libs/*' Vectors.java */
class Vectors {
  public static void main(String[] arguments) throws Exception {
    var texts = Map.of("empty", new byte[0], "letter", new byte[] {'x'}, "noise", noise(), "lines", lines());
    for (var codec : new String[] {"snappy", "lz4", "zstd"}) {
      for (var text : texts.entrySet()) {
        var buffer = new ByteBufferOutputStream(1024);
        var compression = Compression.of(CompressionType.forName(codec)).build();
        try (var output = compression.wrapForOutput(buffer, (byte) 2)) {
          output.write(text.getValue());
        }
        var bytes = new byte[buffer.position()];
        buffer.buffer().flip().get(bytes);
        Files.write(Path.of(codec + "-" + text.getKey() + ".bin"), bytes);
      }
    }
  }

  static byte[] noise() {
    var bytes = new byte[40_000];
    var state = 1;
    for (var i = 0; i < bytes.length; i++) {
      state = (state * 1103515245 + 12345) & 0x7fffffff;
      bytes[i] = (byte) (state >> 16);
    }
    return bytes;
  }

  static byte[] lines() {
    var text = new StringBuilder();
    for (var i = 0; i < 50_000; i++) {
      text.append(i % 101).append(" https://www.example.com/pages/").append(i % 101 * (i % 101) % 101).append('\n');
    }
    return text.toString().getBytes(StandardCharsets.UTF_8);
  }
}
