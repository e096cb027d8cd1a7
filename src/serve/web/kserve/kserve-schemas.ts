// Schemas of the KServe v2 bodies for the one model that the server offers, the query tower.

import { z } from 'zod';

const MAX_ROWS = 1024;

/** Inputs of the query tower. Each has one value per row, and only `user` is required. */
export const INPUT_TYPES = {
  user: 'BYTES',
  item: 'BYTES',
  query: 'BYTES',
  age: 'FP32',
  country: 'BYTES',
  gender: 'BYTES',
} as const;
export type InputName = keyof typeof INPUT_TYPES;

export const OUTPUT_TYPES = { embedding: 'FP32', bundle_id: 'BYTES' } as const;
export type OutputName = keyof typeof OUTPUT_TYPES;

export interface InputTensor {
  readonly name: InputName;
  /** [B], the number of rows. */
  readonly shape: readonly number[];
  readonly datatype: string;
  readonly parameters?: { readonly binary_data_size?: number | undefined } | undefined;
  readonly data?: readonly unknown[] | undefined;
}

export interface InferRequest {
  readonly id?: string | undefined;
  readonly parameters?: { readonly binary_data_output?: boolean | undefined } | undefined;
  readonly inputs: readonly InputTensor[];
  readonly outputs?:
    | readonly {
        readonly name: OutputName;
        readonly parameters?: { readonly binary_data?: boolean | undefined } | undefined;
      }[]
    | undefined;
}

const inputName = z.enum(Object.keys(INPUT_TYPES) as InputName[]);
const outputName = z.enum(Object.keys(OUTPUT_TYPES) as OutputName[]);

export const inferRequest: z.ZodType<InferRequest> = z.strictObject({
  id: z.string().max(256).optional().describe('Returned with the answer.'),
  parameters: z
    .strictObject({
      binary_data_output: z
        .boolean()
        .optional()
        .describe('Whether outputs are bytes. An output may override it.'),
    })
    .optional(),
  inputs: z
    .array(
      z.strictObject({
        name: inputName,
        shape: z
          .array(z.int().min(1).max(MAX_ROWS))
          .length(1)
          .describe('Number of rows, the same for every input.'),
        datatype: z.string().describe('Type of the input, as in the metadata of the model.'),
        parameters: z.strictObject({ binary_data_size: z.int().min(0).optional() }).optional(),
        data: z
          .array(z.unknown())
          .max(MAX_ROWS)
          .optional()
          .describe('Values by row. Absent when they follow the JSON as bytes (binary_data_size).'),
      }),
    )
    .min(1),
  outputs: z
    .array(
      z.strictObject({
        name: outputName,
        parameters: z.strictObject({ binary_data: z.boolean().optional() }).optional(),
      }),
    )
    .optional()
    .describe('Outputs to return, in this order. The default is all outputs.'),
});

const inferResponse = z.strictObject({
  model_name: z.string(),
  id: z.string().optional(),
  outputs: z.array(
    z.strictObject({
      name: outputName,
      shape: z.array(z.int()),
      datatype: z.string(),
      parameters: z.strictObject({ binary_data_size: z.int() }).optional(),
      data: z
        .array(z.union([z.number(), z.string()]))
        .optional()
        .describe('Values by row. Absent when they follow the JSON as bytes.'),
    }),
  ),
});

const tensors = z.array(
  z.strictObject({
    name: z.string(),
    datatype: z.string(),
    shape: z.array(z.int()).describe('-1 stands for the number of rows.'),
  }),
);

const modelMetadata = z.strictObject({
  name: z.string(),
  platform: z.string(),
  inputs: tensors,
  outputs: tensors,
});

const serverMetadata = z.strictObject({
  name: z.string(),
  version: z.string(),
  extensions: z.array(z.string()),
});

/** The schemas by their names in /openapi.json. */
export const KSERVE_SCHEMAS: Readonly<Record<string, z.ZodType>> = {
  InferRequest: inferRequest,
  InferResponse: inferResponse,
  ModelMetadata: modelMetadata,
  ServerMetadata: serverMetadata,
  KserveError: z.strictObject({ error: z.string() }),
};
