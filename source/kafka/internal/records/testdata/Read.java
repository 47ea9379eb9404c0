// Reads record sets with Kafka's own classes. Each file is one set in hexadecimal; its name begins with true or false, which
// says whether the Java client reads offsets 5, 6 and 7 from it. Prints the files that differ.
//
//	KEYSTRAND_DUMP=DIR go test -run AsTheJavaClient ./source/kafka/internal/records
//	java -cp 'tools/services/lib/kafka/*' source/kafka/internal/records/testdata/Read.java DIR

import java.nio.ByteBuffer;
import java.nio.file.*;
import java.util.*;
import org.apache.kafka.common.record.internal.*;
import org.apache.kafka.common.utils.internals.*;

public class Read {
    public static void main(String[] args) throws Exception {
        int files = 0, wrong = 0;
        for (Path p : new TreeSet<>(Files.list(Path.of(args[0])).toList())) {
            byte[] set = HexFormat.of().parseHex(Files.readString(p));
            List<Long> got = new ArrayList<>();
            String why = "";
            try {
                for (var batch : MemoryRecords.readableRecords(ByteBuffer.wrap(set)).batches()) {
                    batch.ensureValid();
                    try (var it = batch.streamingIterator(BufferSupplier.create())) {
                        while (it.hasNext()) got.add(it.next().offset());
                    }
                }
            } catch (Throwable e) {
                why = e + (e.getCause() == null ? "" : " / " + e.getCause());
            }
            boolean read = why.isEmpty() && got.equals(List.of(5L, 6L, 7L));
            files++;
            if (read != p.getFileName().toString().startsWith("true")) {
                wrong++;
                System.out.println(p.getFileName() + ": " + got + " " + why);
            }
        }
        System.out.println(files + " files, " + wrong + " differ");
    }
}
