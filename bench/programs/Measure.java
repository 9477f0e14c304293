// What a program in Java took, as the bench reads it.
import java.io.BufferedReader;
import java.io.FileReader;
import java.lang.management.ManagementFactory;

class Measure {
  /** Of this process since it started. */
  static long cpuNanos() {
    return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
  }

  /** Since the first record, when the clock and `cpuNanos` had these values. */
  static void report(long records, long began, long cpu) throws Exception {
    System.out.printf("{\"records\":%d,\"seconds\":%.3f,\"cpuMicrosPerRecord\":%.3f,\"peakMegabytes\":%.0f}%n",
        records, (System.nanoTime() - began) / 1e9, (cpuNanos() - cpu) / 1e3 / records, peakKilobytes() / 1024.0);
    System.out.flush();
  }

  private static long peakKilobytes() throws Exception {
    try (BufferedReader reader = new BufferedReader(new FileReader("/proc/self/status"))) {
      for (String line = reader.readLine(); line != null; line = reader.readLine()) {
        if (line.startsWith("VmHWM:")) return Long.parseLong(line.replaceAll("[^0-9]", ""));
      }
    }
    return 0;
  }
}
