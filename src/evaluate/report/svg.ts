// The one door to vega: a chart's specification in, SVG text out.

import type { TopLevelSpec } from 'vega-lite';

type WithoutFrame<T> = T extends unknown ? Omit<T, '$schema' | 'background'> : never;

/** What vega-lite draws, without the fields that are the same for every chart of this project. */
export type ChartSpec = WithoutFrame<TopLevelSpec>;

/** @returns SVG text. Loads vega only when called, which takes half a second. */
export async function renderSvg(chart: ChartSpec): Promise<string> {
  const [vega, vegaLite] = await Promise.all([import('vega'), import('vega-lite')]);
  const { spec } = vegaLite.compile({
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    background: 'white',
    ...chart,
  });
  const view = new vega.View(vega.parse(spec), { renderer: 'none' });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}
