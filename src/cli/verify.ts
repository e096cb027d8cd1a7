// `tandem verify`: every check there is for a bundle, with a report and an exit status for scripts.

import { Command } from 'commander';
import { verifyBundle, type VerifyReport } from '../bundle/verify.ts';

export function verifyCommand(): Command {
  return new Command('verify')
    .description('check digests, ids and graph of a bundle, and replay its goldens at every ISA')
    .argument('<bundle>', 'a bundle directory, or a directory of bundles with a current one')
    .option('--json', 'print the report as JSON')
    .action(async (path: string, options: { json?: boolean }) => {
      const report = await verifyBundle(path);
      const text = options.json ? `${JSON.stringify(report, null, 2)}\n` : describeReport(report);
      process.stdout.write(text);
      if (!report.passed) process.exitCode = 1;
    });
}

/** The report as lines for a reader; the last one says whether it passed. */
export function describeReport(report: VerifyReport): string {
  const lines = [
    `bundle ${report.bundleId}`,
    `directory ${report.directory}`,
    `encoder ${report.encoderId}`,
    `${report.items} items; files, digests and ids checked in ${report.loadMs.toFixed(0)} ms`,
    `index recall for the goldens ${report.indexRecall.toFixed(4)}`,
  ];
  for (const { isa, goldens, maxAbsoluteError, minCosine, failures } of report.isas) {
    lines.push(
      `${isa}: ${goldens - failures.length} of ${goldens} goldens, max error ${maxAbsoluteError.toExponential(2)}, min cosine ${minCosine.toFixed(6)}`,
      ...failures.map((failure) => `  ${failure}`),
    );
  }
  lines.push(report.passed ? 'passed' : 'FAILED');
  return `${lines.join('\n')}\n`;
}
