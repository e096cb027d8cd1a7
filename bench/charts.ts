// Draws a benchmark's times as bar charts (SVG) for docs/benchmarks.md, from the results that its
// table shows.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { renderSvg } from '../src/evaluate/report/svg.ts';
import { writeFileAtomic } from '../src/files.ts';
import { packageRoot } from '../src/package-root.ts';
import { SPREAD_SUFFIX, type BenchResult } from './harness.ts';

interface Bar {
  readonly panel: string;
  readonly name: string;
  readonly side: 'ours' | 'peer';
  readonly rate: number;
}

/**
 * Draws one chart for each group of cases, with one panel for each case. Only cases whose unit is
 * us are drawn. A case is named "<group>, <panel>: <ours>".
 *
 * @returns lines of Markdown that show the charts.
 */
export async function writeCharts(
  bench: string,
  results: readonly BenchResult[],
): Promise<string[]> {
  const groups = new Map<string, Map<string, Bar>>();
  for (const { case: name, metric, unit, ours, peer, peerValue } of results) {
    const parts = /^([^,]+), ([^:]+): (.+)$/.exec(name);
    if (parts === null || unit !== 'us' || metric.endsWith(SPREAD_SUFFIX)) continue;
    const [, group = '', panel = '', ourName = ''] = parts;
    const bars = groups.get(group) ?? new Map<string, Bar>();
    groups.set(group, bars);
    const add = (bar: Bar): void => {
      bars.set(`${bar.panel}\n${bar.name}`, bar);
    };
    add({ panel, name: ourName, side: 'ours', rate: 1e6 / ours });
    if (peer !== null && peerValue !== null)
      add({
        panel,
        name: peer,
        side: peer.startsWith('our ') ? 'ours' : 'peer',
        rate: 1e6 / peerValue,
      });
  }
  const folder = join('docs', 'benchmarks');
  mkdirSync(join(packageRoot(), folder), { recursive: true });
  const images: string[] = [];
  for (const [group, bars] of groups) {
    const file = `${bench}-${group.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-')}.svg`;
    writeFileAtomic(join(packageRoot(), folder, file), await chartSvg(group, [...bars.values()]));
    images.push(`![${group}: queries a second](benchmarks/${file})`);
  }
  return images;
}

function chartSvg(title: string, bars: readonly Bar[]): Promise<string> {
  const panels = [...new Set(bars.map(({ panel }) => panel))];
  return renderSvg({
    title: { text: title, subtitle: 'queries a second: more is better', anchor: 'start' },
    vconcat: panels.map((panel) => {
      const values = bars
        .filter((bar) => bar.panel === panel)
        .sort((first, second) => second.rate - first.rate);
      const y = {
        field: 'name',
        type: 'nominal',
        sort: values.map(({ name }) => name),
        title: null,
        axis: { labelLimit: 400 },
      } as const;
      const x = { field: 'rate', type: 'quantitative', title: null } as const;
      return {
        title: { text: panel, anchor: 'start', fontSize: 11 },
        width: 420,
        height: { step: 20 },
        data: { values },
        layer: [
          {
            mark: { type: 'bar', height: 13 },
            encoding: {
              y,
              x,
              color: {
                field: 'side',
                type: 'nominal',
                title: null,
                scale: { domain: ['ours', 'peer'], range: ['#2f6db3', '#b8b8b8'] },
              },
            },
          },
          {
            mark: { type: 'text', align: 'left', dx: 4, fontSize: 10 },
            encoding: { y, x, text: { field: 'rate', type: 'quantitative', format: ',.0f' } },
          },
        ],
      };
    }),
  });
}
