// tandem verify: every check of a bundle, with a report for people and an exit code for scripts.

import { Command } from 'commander';
import { verifyBundle, type VerifyReport } from '../bundle/verify.ts';

export function verifyCommand(): Command {
  return new Command('verify')
    .description(
      'check files, ids and index of a bundle, and replay its golden requests on every ISA',
    )
    .argument('<bundle>', 'directory of a bundle, or of bundles with a current one')
    .option('--json', 'print the report as JSON')
    .action(async (path: string, options: { json?: boolean }) => {
      const report = await verifyBundle(path);
      const text = options.json ? `${JSON.stringify(report, null, 2)}\n` : describeReport(report);
      process.stdout.write(text);
      if (!report.passed) process.exitCode = 1;
    });
}

/** The report as lines of text. The last line says whether the bundle passed. */
export function describeReport(report: VerifyReport): string {
  const lines = [
    `bundle ${report.bundleId}`,
    `directory ${report.directory}`,
    `encoder ${report.encoderId}`,
    `${report.items} items; files, digests and ids checked in ${report.loadMs.toFixed(0)} ms`,
    `index recall for the golden requests ${report.indexRecall.toFixed(4)}`,
  ];
  for (const { isa, goldens, maxAbsoluteError, minCosine, failures } of report.isas) {
    lines.push(
      `${isa}: ${goldens - failures.length} of ${goldens} golden requests, ` +
        `max error ${maxAbsoluteError.toExponential(2)}, min cosine ${minCosine.toFixed(6)}`,
      ...failures.map((failure) => `  ${failure}`),
    );
  }
  lines.push(report.passed ? 'passed' : 'FAILED');
  return `${lines.join('\n')}\n`;
}
